"""Deletes rows of the ledger that no counter is the sum of any more."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store.engine import transaction

# The month of an organization's zone may be the one before the database's; a month of room on top costs little.
_PRUNE = text(
    """
    DELETE FROM quota_reservation WHERE run_id IN (
        SELECT run_id FROM quota_reservation
        WHERE reserved_at < least(:before, date_trunc('month', now()) - interval '1 month')
            AND state = 'released' AND outcome IS NOT NULL
        ORDER BY reserved_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    """
)


async def prune_reservations(engine: AsyncEngine, before: datetime, *, limit: int = 1000) -> int:
    """Delete at most `limit` rows made before `before`, and before last month, of which nothing is open; how many.

    Raises StoreUnavailableError when PostgreSQL is away.
    """
    async with transaction(engine) as connection:
        return (await connection.execute(_PRUNE, {"before": before, "limit": limit})).rowcount
