"""The organizations of the installation: who may have subscriptions, integrations and runs, and whose days are when."""

import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import RowMapping, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core import identifiers
from pipeline_core.admission.subscription import OrganizationNotFoundError
from pipeline_core.store.engine import transaction
from pipeline_core.store.tables import organizations

_NAME_MAX = 200
_IS_ZONE = text("SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = :zone)")


@dataclass(frozen=True, slots=True)
class Organization:
    """One organization. `time_zone` is the IANA name of the zone that its days and months are counted in."""

    org_slug: str
    display_name: str | None
    time_zone: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_row(cls, row: RowMapping) -> Self:
        """Read a row of `organizations`."""
        times = {name: row[name].astimezone(UTC) for name in ("created_at", "updated_at")}
        return cls(**{**row, **times})


class Organizations:
    """Reads and writes `organizations`. Every method raises StoreUnavailableError when PostgreSQL is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def create(
        self, org_slug: str, display_name: str | None = None, time_zone: str | None = None
    ) -> tuple[Organization, bool]:
        """Make the organization, or change what is given of the one that is there; it, and whether it is new.

        Raises ValueError, naming the field, if the slug, the name or the time zone isn't well formed.
        """
        check_organization(org_slug, display_name, time_zone)
        given = {"display_name": display_name, "time_zone": time_zone}
        values = {name: value for name, value in given.items() if value is not None}
        async with transaction(self._engine) as connection:
            if time_zone is not None and not await connection.scalar(_IS_ZONE, {"zone": time_zone}):
                raise ValueError(f"time_zone {time_zone!r}: PostgreSQL doesn't know it, another IANA name is expected")
            statement = insert(organizations).values(org_slug=org_slug, **values)
            row = (await connection.execute(statement.on_conflict_do_nothing().returning(organizations))).mappings()
            if (made := row.one_or_none()) is not None:
                return Organization.from_row(made), True
            return await _changed(connection, org_slug, values), False

    async def list(self) -> list[Organization]:
        """All organizations, by slug."""
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(select(organizations).order_by(organizations.c.org_slug))).mappings()
            return [Organization.from_row(row) for row in rows]

    async def get(self, org_slug: str) -> Organization:
        """The organization. Raises OrganizationNotFoundError."""
        async with transaction(self._engine) as connection:
            return await _get(connection, org_slug)


async def check_known(connection: AsyncConnection, org_slug: str) -> None:
    """Refuse to write anything of an organization that isn't there. Raises OrganizationNotFoundError."""
    await _get(connection, org_slug)


def check_organization(org_slug: str, display_name: str | None, time_zone: str | None) -> None:
    """Raises ValueError, naming the field, the value and what is expected."""
    if not identifiers.ORG_SLUG.fullmatch(org_slug):
        raise ValueError(f"org_slug {org_slug!r:.100} isn't of the form {identifiers.ORG_SLUG.pattern}")
    if display_name is not None and not (0 < len(display_name) <= _NAME_MAX and display_name.isprintable()):
        raise ValueError(f"display_name {display_name!r:.100}: expected 1 to {_NAME_MAX} printable characters")
    if time_zone is not None and time_zone not in zoneinfo.available_timezones():
        raise ValueError(f"time_zone {time_zone!r:.100}: expected an IANA name such as Europe/Berlin or Etc/UTC")


async def _get(connection: AsyncConnection, org_slug: str) -> Organization:
    query = select(organizations).where(organizations.c.org_slug == org_slug)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise OrganizationNotFoundError(org_slug)
    return Organization.from_row(row)


async def _changed(connection: AsyncConnection, org_slug: str, values: Mapping[str, str]) -> Organization:
    now = await _get(connection, org_slug)
    if all(getattr(now, name) == value for name, value in values.items()):
        return now
    statement = (
        update(organizations)
        .where(organizations.c.org_slug == org_slug)
        .values(**values, updated_at=func.clock_timestamp())
        .returning(organizations)
    )
    return Organization.from_row((await connection.execute(statement)).mappings().one())
