"""The outbox: records with changes that BigQuery hasn't heard of, and the right of one exporter to send them.

One exporter at a time holds a turn: an advisory lock of a transaction that stays open while a batch is sent, so the
lock ends with the exporter, however it ends, and works behind a transaction pooler. The transaction reads and holds no
snapshot while it waits, so it keeps nothing from being vacuumed.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import delete, extract, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store.engine import TRANSACTION_SECONDS, transaction
from pipeline_core.store.export_turn import ExportTurn, within_turn
from pipeline_core.store.idempotency import prune_idempotency_keys
from pipeline_core.store.quota.retention import prune_reservations
from pipeline_core.store.schedule_outbox import send_schedules_again
from pipeline_core.store.tables import run_record, schedule_record

# Any number, the same for all exporters of this database; these letters read "plexp".
_LOCK = 0x706C657870
# Longer than a batch takes: only one whose target hardly answers meets this limit. Its thread goes on without the turn
# then, for a minute or two (RecordTables bounds its calls), and does no harm: the next turn settles what it announced.
TURN_SECONDS = 300.0


class Outbox:
    """The exporter's side of the records of runs and schedules.

    Every method raises StoreUnavailableError when PostgreSQL is away.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[ExportTurn | None]:
        """The right to export until the end of the block; None if another exporter has it.

        Raises TimeoutError if the block takes longer than a turn may: PostgreSQL isn't what it waited for.
        """
        async with transaction(self._engine, seconds=TURN_SECONDS + TRANSACTION_SECONDS) as connection:
            mine = (await within_turn(connection, text(f"SELECT pg_try_advisory_xact_lock({_LOCK})"))).scalar()
            async with asyncio.timeout(TURN_SECONDS):
                yield ExportTurn(connection, self._engine) if mine else None

    async def lag_seconds(self) -> float:
        """How long the oldest change that BigQuery hasn't heard of has been waiting; 0 if there is none."""
        oldest = (
            select(func.min(table.c.unexported_since)).where(table.c.unexported_since.is_not(None)).scalar_subquery()
            for table in (run_record, schedule_record)
        )
        query = select(extract("epoch", func.clock_timestamp() - func.least(*oldest)))
        async with transaction(self._engine) as connection:
            return max(0.0, float(await connection.scalar(query) or 0))

    async def send_schedules_again(self) -> int:
        """Have all schedules due, for a table in BigQuery that is to be made anew; returns how many weren't."""
        async with transaction(self._engine) as connection:
            return (await connection.execute(send_schedules_again())).rowcount

    async def prune(self, before: datetime, *, limit: int = 1000) -> int:
        """Delete at most `limit` records of runs that ended before `before` and are exported; returns how many.

        And what is past its own retention of the ledger and of the idempotency keys.
        """
        old = (
            select(run_record.c.run_id)
            .where(run_record.c.completed_at < before, run_record.c.unexported_since.is_(None))
            .order_by(run_record.c.completed_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with transaction(self._engine) as connection:
            pruned = (await connection.execute(delete(run_record).where(run_record.c.run_id.in_(old)))).rowcount
        # As old, and more of them: a run that was refused has a record only, and months of counters need their rows.
        await prune_reservations(self._engine, before, limit=limit)
        await prune_idempotency_keys(self._engine)
        return pruned
