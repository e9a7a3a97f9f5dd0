"""The outbox: records with changes that BigQuery hasn't heard of, and the right of one exporter to send them.

One exporter at a time holds a turn: an advisory lock of a transaction that stays open while a batch is sent, so the
lock ends with the exporter, however it ends, and works behind a transaction pooler. The transaction reads and holds no
snapshot while it waits, so it keeps nothing from being vacuumed.

The lock alone isn't enough: an exporter that dies leaves its statement running in BigQuery, and two MERGE statements
that only insert don't conflict there (cloud.google.com/bigquery/docs/data-manipulation-language, "DML statement
conflicts"), so both would insert the same run. Hence each statement is announced, durably, before it is submitted, and
whoever has the turn next waits for the announced one first.
"""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
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
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.store.engine import transaction
from pipeline_core.store.runs import StoredRun
from pipeline_core.store.tables import export_job, run_record

# Any number, the same for all exporters of this database; these letters read "plexp".
_LOCK = 0x706C657870
# Longer than a batch can take (RecordTables bounds each of its calls), so that only a hung one meets this limit.
TURN_SECONDS = 300.0


class ExportTurn:
    """What the exporter whose turn it is may do; valid while its transaction is open."""

    def __init__(self, connection: AsyncConnection, engine: AsyncEngine) -> None:
        self._connection = connection
        self._engine = engine

    async def announced_job(self) -> str | None:
        """The id of a statement that may still be running in BigQuery, submitted by whoever never came back."""
        job_id: str | None = await self._connection.scalar(select(export_job.c.job_id))
        return job_id

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
        return [StoredRun.from_row(row) for row in (await self._connection.execute(query)).mappings()]

    async def announce(self, job_id: str) -> None:
        """Make it known, before it is submitted, that this statement may run; survives this process."""
        statement = insert(export_job).values(id=1, job_id=job_id)
        replace = statement.on_conflict_do_update(
            index_elements=[export_job.c.id],
            set_={"job_id": statement.excluded.job_id, "submitted_at": func.now()},
        )
        # On another connection: the turn's own transaction is committed only after the statement.
        async with transaction(self._engine) as connection:
            await connection.execute(replace)

    async def mark(self, runs: Sequence[StoredRun]) -> None:
        """Record that these runs, as they were read, are in BigQuery, and that no statement is under way.

        A run that changed since stays in the outbox, as waiting since this turn began, which is before it changed.
        """
        sent = (
            func.unnest(
                literal([run.run_id for run in runs], ARRAY(Text)),
                literal([run.revision for run in runs], ARRAY(BigInteger)),
            )
            .table_valued(column("run_id", Text), column("revision", BigInteger))
            .render_derived(name="sent")
        )
        await self._connection.execute(
            update(run_record)
            .where(and_(run_record.c.run_id == sent.c.run_id, run_record.c.exported_revision < sent.c.revision))
            .values(
                exported_revision=sent.c.revision,
                unexported_since=case((run_record.c.revision == sent.c.revision, null()), else_=func.now()),
            )
        )
        await self._connection.execute(delete(export_job))


class Outbox:
    """The exporter's side of `run_record`. Every method raises StoreUnavailableError when PostgreSQL is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[ExportTurn | None]:
        """The right to export until the end of the block; None if another exporter has it."""
        async with transaction(self._engine, seconds=TURN_SECONDS) as connection:
            query = text("SELECT pg_try_advisory_xact_lock(:key)")
            mine = await connection.scalar(query, {"key": _LOCK})
            yield ExportTurn(connection, self._engine) if mine else None

    async def lag_seconds(self) -> float:
        """How long the oldest change that BigQuery hasn't heard of has been waiting; 0 if there is none."""
        waited = extract("epoch", func.clock_timestamp() - func.min(run_record.c.unexported_since))
        query = select(waited).where(run_record.c.unexported_since.is_not(None))
        async with transaction(self._engine) as connection:
            return max(0.0, float(await connection.scalar(query) or 0))

    async def prune(self, before: datetime, *, limit: int = 1000) -> int:
        """Delete at most `limit` records of runs that ended before `before` and are exported; returns how many."""
        old = (
            select(run_record.c.run_id)
            .where(run_record.c.completed_at < before, run_record.c.unexported_since.is_(None))
            .order_by(run_record.c.completed_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        async with transaction(self._engine) as connection:
            return (await connection.execute(delete(run_record).where(run_record.c.run_id.in_(old)))).rowcount
