"""What each organization set up for each provider: settings for templates, and whether it is in use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import RowMapping, func, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core import identifiers
from pipeline_core.admission.tenancy import TenancyMode, secret_problem
from pipeline_core.credentials.names import is_secret_name
from pipeline_core.store.engine import transaction
from pipeline_core.store.grouping import Grouped
from pipeline_core.store.organizations import check_known
from pipeline_core.store.tables import org_integrations

ACTIVE = "ACTIVE"
_KEY = tuple_(org_integrations.c.org_slug, org_integrations.c.provider)


@dataclass(frozen=True, slots=True)
class Integration:
    """One organization's integration with one provider; `settings` are variables of templates, and no secrets.

    `credential_secret` is the name of the Kubernetes Secret that holds its credentials.
    """

    org_slug: str
    provider: str
    settings: Mapping[str, str]
    status: str
    created_at: datetime
    updated_at: datetime
    credential_secret: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether runs may use it."""
        return self.status.upper() == ACTIVE

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Read a row of `org_integrations`."""
        times = {name: row[name].astimezone(UTC) for name in ("created_at", "updated_at")}
        return cls(**{**row, **times})


class Integrations:
    """Reads and writes `org_integrations`. Every method raises StoreUnavailableError when PostgreSQL is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._got = Grouped(self._get)

    async def get(self, org_slug: str, provider: str) -> Integration | None:
        """The organization's integration with the provider, if it has one."""
        return await self._got((org_slug, provider))

    async def _get(self, keys: Sequence[tuple[str, str]]) -> list[Integration | None]:
        """Those of many runs that are admitted at the same time."""
        query = select(org_integrations).where(_KEY.in_(sorted(set(keys))))
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(query)).mappings()
            found = {(row["org_slug"], row["provider"]): Integration.from_row(row) for row in rows}
        return [found.get(key) for key in keys]

    async def set(
        self,
        org_slug: str,
        provider: str,
        settings: Mapping[str, str],
        *,
        status: str = ACTIVE,
        credential_secret: str | None = None,
        tenancy: TenancyMode = TenancyMode.SHARED,
    ) -> Integration:
        """Store an integration, in place of the one there may be.

        Raises OrganizationNotFoundError, and ValueError, naming the field, if the organization, the provider, a setting
        or the Secret's name isn't well formed, or with `tenancy` SHARED the Secret's name isn't the organization's own.
        """
        _check(org_slug, provider, settings, credential_secret, tenancy)
        values = {"settings": dict(settings), "status": status, "credential_secret": credential_secret}
        statement = (
            insert(org_integrations)
            .values(org_slug=org_slug, provider=provider, **values)
            .on_conflict_do_update(
                index_elements=[org_integrations.c.org_slug, org_integrations.c.provider],
                set_={**values, "updated_at": func.now()},
            )
            .returning(org_integrations)
        )
        async with transaction(self._engine) as connection:
            await check_known(connection, org_slug)
            return Integration.from_row((await connection.execute(statement)).mappings().one())

    async def list(self, org_slug: str) -> list[Integration]:
        """The organization's integrations, by provider."""
        query = select(org_integrations).where(org_integrations.c.org_slug == org_slug)
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(query.order_by(org_integrations.c.provider))).mappings()
            return [Integration.from_row(row) for row in rows]


def _check(
    org_slug: str, provider: str, settings: Mapping[str, str], credential_secret: str | None, tenancy: TenancyMode
) -> None:
    if not identifiers.ORG_SLUG.fullmatch(org_slug):
        raise ValueError(f"org_slug {org_slug!r} isn't of the form {identifiers.ORG_SLUG.pattern}")
    for field, name in (("provider", provider), *(("setting", key) for key in settings)):
        if not identifiers.NAME.fullmatch(name):
            raise ValueError(f"{field} {name!r} isn't of the form {identifiers.NAME.pattern}")
    for name, value in settings.items():
        if not isinstance(value, str):
            raise ValueError(f"setting {name} is of type {type(value).__name__}, a string is expected")  # noqa: TRY004
        if "\x00" in value:
            raise ValueError(f"setting {name} holds a NUL character")
    if credential_secret is None:
        return
    if not is_secret_name(credential_secret):
        raise ValueError(
            f"credential_secret {credential_secret!r:.100}: expected a name as Kubernetes allows, such as acme-gcp"
        )
    if problem := secret_problem(credential_secret, org_slug, provider, tenancy):
        raise ValueError(problem)
