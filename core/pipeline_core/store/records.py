"""The records of runs: begun once, advanced, finished once, listed by organization.

Every change reads the row under its lock and writes what a pure function of it says (`changes`), so that reports from
several parts, late or twice, end in the same record. Changes of several runs that are asked for at the same time share
a transaction.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store import changes
from pipeline_core.store.engine import transaction
from pipeline_core.store.errors import RunIdTakenError, RunNotRecordedError
from pipeline_core.store.grouping import Grouped
from pipeline_core.store.many_records import Change, begin_many, change_many
from pipeline_core.store.quota import settle
from pipeline_core.store.runs import HistoryCursor, NewRun, StoredRun
from pipeline_core.store.tables import run_record
from pipeline_core.store.views import EVERY_RUN, HistoryFilter, RunStatus, RunSummary, read_history, read_statuses


class RunRecords:
    """Reads and writes `run_record`. Every method raises StoreUnavailableError when PostgreSQL is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._begun = Grouped(partial(begin_many, engine))
        self._changed = Grouped(partial(change_many, engine))
        self._statuses = Grouped(partial(read_statuses, engine), moment_seconds=0)

    async def begin(self, record: NewRun) -> StoredRun:
        """Record a pending run, or return the one already recorded under this id: asking twice changes nothing.

        Raises RunIdTakenError if the id belongs to another organization or another object.
        """
        if (begun := await self._begun(record)) is not None:
            return begun
        async with transaction(self._engine) as connection:
            return await begin_within(connection, record)

    async def advance(
        self,
        run_id: str,
        *,
        phase: Phase,
        at: datetime,
        started_at: datetime | None = None,
        progress: int | None = None,
        attempts: int | None = None,
        job_name: str | None = None,
        message: str | None = None,
        object_uid: str | None = None,
    ) -> bool:
        """Bring a live run's record forward; phases passed over are recorded too. Returns whether anything changed.

        An earlier phase than the recorded one, or any report after the end, moves nothing back. `progress` is 0 to
        100. Raises RunNotRecordedError if the run was never begun, RunIdTakenError if `object_uid` is given and isn't
        that of the run's object, ValueError if `phase` is final.
        """
        _, changed = await self._change(
            run_id,
            object_uid,
            lambda run: changes.advanced(
                run,
                phase=phase,
                at=at,
                started_at=started_at,
                progress=progress,
                attempts=attempts,
                job_name=job_name,
                message=message,
            ),
        )
        return changed

    async def finish(
        self,
        run_id: str,
        *,
        phase: Phase,
        at: datetime,
        records_processed: int | None = None,
        error_message: str | None = None,
        attempts: int | None = None,
        message: str | None = None,
        started_at: datetime | None = None,
        reason: str | None = None,
        refusal: str | None = None,
        object_uid: str | None = None,
        frees: bool = False,
    ) -> StoredRun:
        """End a run's record and return it; where it has ended already, return that end unchanged.

        `refusal` is why the run wasn't admitted, for one that ends by that.
        The run's reservation is settled in the same transaction, and its slot is free if this `frees` it: none of the
        run's pods is alive.

        Raises RunNotRecordedError if the run was never begun, RunIdTakenError if `object_uid` is given and isn't that
        of the run's object, ValueError if `phase` isn't final.
        """
        stored, _ = await self._change(
            run_id,
            object_uid,
            lambda run: changes.finished(
                run,
                phase=phase,
                at=at,
                records_processed=records_processed,
                error_message=error_message,
                attempts=attempts,
                message=message,
                started_at=started_at,
                reason=reason,
                refusal=refusal,
            ),
            frees=frees,
        )
        return stored

    async def leave_undecided(
        self, run_id: str, *, at: datetime, message: str, object_uid: str, frees: bool = False
    ) -> StoredRun:
        """Leave the end of a run to whoever can ask the target whether it had published; a final record stays as it is.

        Its slot is free if this `frees` it, as in `finish`.

        Raises RunNotRecordedError, RunIdTakenError as `finish` does.
        """
        stored, _ = await self._change(
            run_id, object_uid, lambda run: changes.undecided(run, at=at, message=message), frees=frees
        )
        return stored

    async def undecided(self, *, limit: int = 100) -> list[StoredRun]:
        """Runs whose end only the target can tell, by run id."""
        query = select(run_record).where(run_record.c.undecided_since.is_not(None))
        async with transaction(self._engine) as connection:
            rows = (await connection.execute(query.order_by(run_record.c.run_id).limit(limit))).mappings()
            return [StoredRun.from_row(row) for row in rows]

    async def get(self, run_id: str, *, org_slug: str | None = None) -> StoredRun | None:
        """The record of a run, if it is there, and belongs to `org_slug` where one is given."""
        query = select(run_record).where(run_record.c.run_id == run_id)
        if org_slug is not None:
            query = query.where(run_record.c.org_slug == org_slug)
        async with transaction(self._engine) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else StoredRun.from_row(row)

    async def status(self, run_id: str, org_slug: str) -> RunStatus | None:
        """Where this organization's run stands; those that are asked for at the same time are read together."""
        return await self._statuses((run_id, org_slug))

    async def history(
        self,
        org_slug: str,
        wanted: HistoryFilter = EVERY_RUN,
        *,
        limit: int = 50,
        before: HistoryCursor | None = None,
    ) -> list[RunSummary]:
        """An organization's runs, newest first, at most `limit`; the next page is `before` the last one's cursor."""
        return await read_history(self._engine, org_slug, wanted, limit=limit, before=before)

    async def unfinished(self, *, after: str | None = None, limit: int = 500) -> list[StoredRun]:
        """Runs of all organizations that haven't ended, by run id, `after` the last one of the previous page."""
        query = select(run_record).where(run_record.c.completed_at.is_(None))
        if after is not None:
            query = query.where(run_record.c.run_id > after)
        query = query.order_by(run_record.c.run_id).limit(limit)
        async with transaction(self._engine) as connection:
            return [StoredRun.from_row(row) for row in (await connection.execute(query)).mappings()]

    async def _change(
        self,
        run_id: str,
        object_uid: str | None,
        decide: Callable[[StoredRun], changes.Columns],
        *,
        frees: bool = False,
    ) -> tuple[StoredRun, bool]:
        if (done := await self._changed(Change(run_id, object_uid, decide, frees))) is not None:
            return done
        async with transaction(self._engine) as connection:
            stored = await locked_within(connection, run_id)
            if object_uid is not None and stored.object_uid != object_uid:
                raise RunIdTakenError(run_id)
            columns = decide(stored)
            if columns:
                stored = await write_within(connection, run_id, columns)
            if settlement := settle.of_run(stored, frees=frees):
                await settle.settle_within(connection, [settlement])
            return stored, bool(columns)


async def begin_within(connection: AsyncConnection, record: NewRun) -> StoredRun:
    """Begin the record in this transaction, or lock the one that is there and bind it to what is new of it: the
    object that was made for it, the Job that is going to be.

    Raises RunIdTakenError if the id belongs to another organization or another object.
    """
    statement = insert(run_record).values(changes.begun(record)).on_conflict_do_nothing().returning(run_record)
    row = (await connection.execute(statement)).mappings().one_or_none()
    if row is not None:
        return StoredRun.from_row(row)
    stored = await locked_within(connection, record.run_id)
    columns = changes.bound(stored, record)
    bound = await write_within(connection, stored.run_id, columns) if columns else stored
    return replace(bound, was_there=True, was_bound="object_uid" not in columns)


async def locked_within(connection: AsyncConnection, run_id: str) -> StoredRun:
    """The run's record, locked in this transaction. Raises RunNotRecordedError if it was never begun."""
    query = select(run_record).where(run_record.c.run_id == run_id).with_for_update()
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise RunNotRecordedError(run_id)
    return StoredRun.from_row(row)


async def write_within(connection: AsyncConnection, run_id: str, columns: changes.Columns) -> StoredRun:
    """Write these columns of a record that this transaction has locked, and what follows from them."""
    values = dict(columns)
    if "revision" in columns:
        # The outbox: since when BigQuery hasn't heard of this run's oldest change.
        values["unexported_since"] = func.coalesce(run_record.c.unexported_since, func.clock_timestamp())
    statement = update(run_record).where(run_record.c.run_id == run_id).values(values).returning(run_record)
    return StoredRun.from_row((await connection.execute(statement)).mappings().one())
