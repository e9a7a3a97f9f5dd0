"""What the exporter whose turn it is does with the outbox: reads it, announces its statements, marks what is sent.

The turn's lock (`outbox`) isn't enough: an exporter that dies leaves its statement running in BigQuery, and two MERGE
statements that only insert don't conflict there (cloud.google.com/bigquery/docs/data-manipulation-language, "DML
statement conflicts"), so both would insert the same run. Hence each statement is announced, durably, before it is
submitted, and whoever has the turn next waits for the announced one first, or sees to it that it can't come any more.
An announcement replaces the one that its turn knows of, and no other: an exporter that has lost its turn unawares
finds out there.

So the statements form a chain, in which each one's rows were read after the one before had been announced, and each
begins when the one before has ended for good: what is in BigQuery moves only forwards (docs/decisions/0009-export.md).
"""

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Executable,
    Text,
    and_,
    case,
    column,
    func,
    literal,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.store.engine import TRANSACTION_SECONDS, transaction
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.runs import StoredRun
from pipeline_core.store.schedule_outbox import UnexportedSchedule, due_schedules, mark_schedules
from pipeline_core.store.tables import export_job, run_record


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
        query = select(export_job.c.job_id, export_job.c.ended_job_id)
        row = (await within_turn(self._connection, query)).one_or_none()
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
        return [StoredRun.from_row(row) for row in (await within_turn(self._connection, query)).mappings()]

    async def due_schedules(
        self, limit: int, *, interval: timedelta, without: Collection[str] = ()
    ) -> list[UnexportedSchedule]:
        """At most `limit` schedules to send, the longest waiting first, once one of them has waited for `interval`.

        Schedules in `without` are left for later.
        """
        query = due_schedules(limit, interval=interval, without=without)
        return [UnexportedSchedule.from_row(row) for row in (await within_turn(self._connection, query)).mappings()]

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
        await within_turn(
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
            await within_turn(self._connection, statement)
        await self._note_end()

    async def note_settled(self) -> None:
        """Make it known that the announced statement has ended; nobody needs to wait for it again."""
        # On another connection: this one would keep the row from the announcement that follows.
        async with transaction(self._engine) as connection:
            await connection.execute(self._end())

    async def _note_end(self) -> None:
        await within_turn(self._connection, self._end())

    def _end(self) -> Executable:
        """The statement announced last has ended. It stays, as the one that the next announcement has to know of."""
        return update(export_job).where(export_job.c.job_id == self._announced).values(ended_job_id=export_job.c.job_id)


async def within_turn(connection: AsyncConnection, statement: Executable) -> CursorResult[Any]:
    """One statement of a turn, in the time that others have for a whole transaction: a turn waits for BigQuery too."""
    try:
        async with asyncio.timeout(TRANSACTION_SECONDS):
            return await connection.execute(statement)
    except TimeoutError as error:
        raise StoreUnavailableError(f"PostgreSQL didn't answer within {TRANSACTION_SECONDS:g} s") from error
