"""The outbox: records with changes that BigQuery hasn't heard of, and the right of one exporter to send them.

One exporter at a time holds a turn: an advisory lock of a transaction that stays open while a batch is sent, so the
lock ends with the exporter, however it ends, and works behind a transaction pooler. The transaction reads and holds no
snapshot while it waits, so it keeps nothing from being vacuumed.

The lock alone isn't enough: an exporter that dies leaves its statement running in BigQuery, and two MERGE statements
that only insert don't conflict there (cloud.google.com/bigquery/docs/data-manipulation-language, "DML statement
conflicts"), so both would insert the same run. Hence each statement is announced, durably, before it is submitted, and
whoever has the turn next waits for the announced one first, or sees to it that it can't come any more. An announcement
replaces the one that its turn knows of, and no other: an exporter that has lost its turn unawares finds out there.

So the statements form a chain, in which each one's rows were read after the one before had been announced, and each
begins when the one before has ended for good: what is in BigQuery moves only forwards (docs/decisions/0009-export.md).
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Executable,
    Text,
    and_,
    case,
    column,
    delete,
    extract,
    func,
    literal,
    null,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.store.engine import TRANSACTION_SECONDS, transaction
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.idempotency import prune_idempotency_keys
from pipeline_core.store.quota.retention import prune_reservations
from pipeline_core.store.runs import StoredRun
from pipeline_core.store.schedule_outbox import (
    UnexportedSchedule,
    due_schedules,
    mark_schedules,
    send_schedules_again,
)
from pipeline_core.store.tables import export_job, run_record, schedule_record

# Any number, the same for all exporters of this database; these letters read "plexp".
_LOCK = 0x706C657870
# Longer than a batch takes: only one whose target hardly answers meets this limit. Its thread goes on without the turn
# then, for a minute or two (RecordTables bounds its calls), and does no harm: the next turn settles what it announced.
TURN_SECONDS = 300.0


class ExportTurn:
    """What the exporter whose turn it is may do; valid while its transaction is open."""

    def __init__(self, connection: AsyncConnection, engine: AsyncEngine) -> None:
        self._connection = connection
        self._engine = engine
        self._announced: str | None = None

    async def announced_job(self) -> str | None:
        """The id of a statement that may run in BigQuery, now or soon, announced by whoever never came back.

        Call this before anything is read that is to be sent.
        """
        row = (await _within(self._connection, select(export_job.c.job_id, export_job.c.ended_job_id))).one_or_none()
        self._announced = row and row.job_id
        return None if row is None or row.ended_job_id == row.job_id else row.job_id

    async def due(self, limit: int, *, interval: timedelta, without: Collection[str] = ()) -> list[StoredRun]:
        """At most `limit` records to send, the longest waiting first: ended runs at once, live ones after `interval`.

        Of a run that changed several times only its present state is sent. Runs in `without` are left for later.
        """
        now = func.clock_timestamp()
        waiting = run_record.c.unexported_since
        query = (
            select(run_record)
            .where(waiting.is_not(None), or_(run_record.c.completed_at.is_not(None), waiting <= now - interval))
            .order_by(waiting, run_record.c.run_id)
            .limit(limit)
        )
        if without:
            query = query.where(run_record.c.run_id.not_in(without))
        return [StoredRun.from_row(row) for row in (await _within(self._connection, query)).mappings()]

    async def due_schedules(
        self, limit: int, *, interval: timedelta, without: Collection[str] = ()
    ) -> list[UnexportedSchedule]:
        """At most `limit` schedules to send, the longest waiting first, once one of them has waited for `interval`.

        Schedules in `without` are left for later.
        """
        query = due_schedules(limit, interval=interval, without=without)
        return [UnexportedSchedule.from_row(row) for row in (await _within(self._connection, query)).mappings()]

    async def announce(self, job_id: str) -> None:
        """Make it known, before it is submitted, that this statement may run; survives this process.

        Call `announced_job` before the first. Raises StoreUnavailableError if another exporter has announced one since.
        """
        first = insert(export_job).values(id=1, job_id=job_id).on_conflict_do_nothing()
        further = update(export_job).where(export_job.c.job_id == self._announced)
        further = further.values(job_id=job_id, submitted_at=func.now())
        change = (first if self._announced is None else further).returning(export_job.c.job_id)
        # On another connection: the turn's own transaction is committed only after the statement.
        async with transaction(self._engine) as connection:
            announced = await connection.scalar(change)
        if announced is None:
            raise StoreUnavailableError("the turn was lost with its connection to PostgreSQL: another exporter has it")
        self._announced = job_id

    async def mark(self, runs: Sequence[StoredRun]) -> None:
        """Record that these runs, as they were read, are in BigQuery, and that no statement is under way.

        A run that changed since stays in the outbox, as waiting since this turn began, which is before it changed.
        """
        # This locks many rows, one after the other, as others do, and no circle of waits can arise: `change_many` takes
        # only rows that are free (SKIP LOCKED) and then waits for none, as does `prune`; a change of one run holds no
        # row while it waits; and `begin_many` holds new rows only, which this doesn't see before they are committed.
        sent = (
            func.unnest(
                literal([run.run_id for run in runs], ARRAY(Text)),
                literal([run.revision for run in runs], ARRAY(BigInteger)),
            )
            .table_valued(column("run_id", Text), column("revision", BigInteger))
            .render_derived(name="sent")
        )
        await _within(
            self._connection,
            update(run_record)
            .where(and_(run_record.c.run_id == sent.c.run_id, run_record.c.exported_revision < sent.c.revision))
            .values(
                exported_revision=sent.c.revision,
                unexported_since=case((run_record.c.revision == sent.c.revision, null()), else_=func.now()),
            ),
        )
        await self._note_end()

    async def mark_schedules(self, schedules: Sequence[UnexportedSchedule]) -> None:
        """Record that these schedules, as they were read, are in BigQuery, and that no statement is under way.

        Those that are gone there go from PostgreSQL, too. A schedule that changed since stays in the outbox.
        """
        for statement in mark_schedules(schedules):
            await _within(self._connection, statement)
        await self._note_end()

    async def note_settled(self) -> None:
        """Make it known that the announced statement has ended; nobody needs to wait for it again."""
        # On another connection: this one would keep the row from the announcement that follows.
        async with transaction(self._engine) as connection:
            await connection.execute(self._end())

    async def _note_end(self) -> None:
        await _within(self._connection, self._end())

    def _end(self) -> Executable:
        """The statement announced last has ended. It stays, as the one that the next announcement has to know of."""
        return update(export_job).where(export_job.c.job_id == self._announced).values(ended_job_id=export_job.c.job_id)


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
            mine = (await _within(connection, text(f"SELECT pg_try_advisory_xact_lock({_LOCK})"))).scalar()
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


async def _within(connection: AsyncConnection, statement: Executable) -> CursorResult[Any]:
    """One statement of a turn, in the time that others have for a whole transaction: a turn waits for BigQuery too."""
    try:
        async with asyncio.timeout(TRANSACTION_SECONDS):
            return await connection.execute(statement)
    except TimeoutError as error:
        raise StoreUnavailableError(f"PostgreSQL didn't answer within {TRANSACTION_SECONDS:g} s") from error
