"""What the admission of a run asks of PostgreSQL before any quota: the organization, its plan, its integration."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.admit import Facts
from pipeline_core.store.engine import transaction
from pipeline_core.store.grouping import Grouped
from pipeline_core.store.integrations import ACTIVE

_FACTS = text(
    """
    SELECT DISTINCT ON (asked.place)
        o.org_slug IS NOT NULL AS is_known, s.status AS subscription_status, i.status, i.settings
    FROM unnest(cast(:orgs AS text[]), cast(:providers AS text[])) WITH ORDINALITY AS asked (org, of_provider, place)
    LEFT JOIN organizations o ON o.org_slug = asked.org
    LEFT JOIN org_subscriptions s ON s.org_slug = asked.org
    LEFT JOIN org_integrations i ON i.org_slug = asked.org AND i.provider = asked.of_provider
    ORDER BY asked.place
    """
)


class AdmissionFacts:
    """Reads them, for runs that are admitted at the same time together."""

    def __init__(self, engine: AsyncEngine) -> None:
        # One SELECT is a transaction of its own: BEGIN and COMMIT would be two more round trips.
        self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._got = Grouped(self._get, moment_seconds=0)

    async def get(self, org_slug: str, provider: str) -> Facts:
        """The facts of this organization with this provider. Raises StoreUnavailableError when PostgreSQL is away."""
        return await self._got((org_slug, provider))

    async def _get(self, keys: Sequence[tuple[str, str]]) -> list[Facts]:
        given = {"orgs": [org for org, _ in keys], "providers": [provider for _, provider in keys]}
        async with transaction(self._reading) as connection:
            rows = (await connection.execute(_FACTS, given)).all()
        return [
            Facts(
                is_known=row.is_known,
                subscription_status=row.subscription_status,
                integration=row.settings if row.status is not None and row.status.upper() == ACTIVE else None,
            )
            for row in rows
        ]
