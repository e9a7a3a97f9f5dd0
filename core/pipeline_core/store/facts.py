"""What the admission of a run asks of PostgreSQL before any quota: the organization, its plan, its integration."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.admission.admit import Facts
from pipeline_core.store.engine import fetch, reading
from pipeline_core.store.grouping import Grouped
from pipeline_core.store.integrations import ACTIVE

# Where another system's view has an organization twice, it is one of its rows.
_FACTS = """
    SELECT asked.org, asked.of_provider,
        o.org_slug IS NOT NULL AS is_known, s.status AS subscription_status, i.status, i.settings, i.credential_secret
    FROM unnest(%(orgs)s::text[], %(providers)s::text[]) AS asked (org, of_provider)
    LEFT JOIN organizations o ON o.org_slug = asked.org
    LEFT JOIN org_subscriptions s ON s.org_slug = asked.org
    LEFT JOIN org_integrations i ON i.org_slug = asked.org AND i.provider = asked.of_provider
"""


class AdmissionFacts:
    """Reads them, for runs that are admitted at the same time together."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._got = Grouped(self._get, moment_seconds=0)

    async def get(self, org_slug: str, provider: str) -> Facts:
        """The facts of this organization with this provider. Raises StoreUnavailableError when PostgreSQL is away."""
        return await self._got((org_slug, provider))

    async def _get(self, keys: Sequence[tuple[str, str]]) -> list[Facts]:
        asked = set(keys)
        given = {"orgs": [org for org, _ in asked], "providers": [provider for _, provider in asked]}
        async with reading(self._engine) as connection:
            rows = await fetch(connection, _FACTS, given)
        found = {(row["org"], row["of_provider"]): _facts(row) for row in rows}
        return [found[key] for key in keys]


def _facts(row: Mapping[str, Any]) -> Facts:
    is_active = (row["status"] or "").upper() == ACTIVE
    return Facts(
        is_known=row["is_known"],
        subscription_status=row["subscription_status"],
        integration=row["settings"] if is_active else None,
        credential_secret=row["credential_secret"] if is_active else None,
    )
