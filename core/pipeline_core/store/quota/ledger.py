"""The ledger as the operator and the bridge use it: reserve, release, what is held, where there is room."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store.engine import transaction
from pipeline_core.store.grouping import Grouped
from pipeline_core.store.many_records import OF_ONE
from pipeline_core.store.quota.recompute import Drift, drift
from pipeline_core.store.quota.reserve import reserve_many, reserve_one
from pipeline_core.store.quota.settle import Settlement, of_run, settle_within
from pipeline_core.store.quota.standing import Standing, standing_within
from pipeline_core.store.quota.unmade import Reserved, end_unmade
from pipeline_core.store.runs import NewRun, StoredRun
from pipeline_core.store.tables import run_record


@dataclass(frozen=True, slots=True)
class HeldSlot:
    """A slot that is held, and what the record of its run says; `object_uid` is None before the run has an object.

    `age` is by PostgreSQL's clock.
    """

    run_id: str
    org_slug: str
    reserved_at: datetime
    age: timedelta
    is_recorded: bool
    is_over: bool
    object_namespace: str | None
    object_name: str | None
    object_uid: str | None


_HELD = text(
    """
    SELECT q.run_id, q.org_slug, q.reserved_at, clock_timestamp() - q.reserved_at AS age,
        r.run_id IS NOT NULL AS is_recorded,
        coalesce(r.completed_at IS NOT NULL, false) AS is_over, r.object_namespace, r.object_name, r.object_uid
    FROM quota_reservation q LEFT JOIN run_record r ON r.run_id = q.run_id
    WHERE q.state = 'held' AND (cast(:org AS text) IS NULL OR q.org_slug = :org) AND q.run_id > :after
    ORDER BY q.run_id LIMIT :limit
    """
)
_ROOM = text(
    """
    SELECT s.org_slug, s.concurrent_pipelines_limit - coalesce(u.concurrent, 0) AS room
    FROM org_subscriptions s LEFT JOIN quota_usage u ON u.org_slug = s.org_slug
    WHERE s.org_slug = any(:orgs) AND coalesce(u.concurrent, 0) < s.concurrent_pipelines_limit
    """
)


_HOLDS = text("SELECT EXISTS (SELECT FROM quota_reservation WHERE run_id = :run_id AND state = 'held')")


class QuotaLedger:
    """Slots of organizations. Every method raises StoreUnavailableError when PostgreSQL is away."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._reserved = Grouped(partial(reserve_many, engine))
        self._freed = Grouped(self._free_many)

    async def reserve(self, record: NewRun) -> StoredRun:
        """Begin the run's record with a slot, or return the one that is there with its slot; a run that is over gets
        none. Asking again takes nothing more: the slot of a run without an object counts as just reserved then.

        Raises QuotaExceededError with the limit that is reached, OrganizationNotFoundError or
        SubscriptionInactiveError, and RunIdTakenError if the id is another run's; then nothing has changed.
        """
        if (stored := await self._reserved(record)) is not None:
            return stored
        return await reserve_one(self._engine, record)

    async def release(self, run_id: str, *, object_uid: str | None = None) -> bool:
        """Give back the run's slot, if it holds one: none of its pods is alive. Returns whether it did.

        Where `object_uid` is given, only if the record is that object's, or isn't there: another's object may claim the
        id. What the record says of its end, if it has ended, is settled too, should that be open.
        """
        asked = (run_id, object_uid)
        freed = await self._freed(asked)
        return (await self._free([asked]))[0] if freed is None else freed

    async def end_unmade(self, slot: Reserved, *, at: datetime, message: str) -> bool:
        """End the run of which no object has been seen, and give its slot back, if nobody has renewed it since.

        `slot` is as `held` or `reserve` returned it. Returns whether it did. Raises RunNotRecordedError if the run was
        never begun.
        """
        return await end_unmade(self._engine, slot, at=at, message=message)

    async def held(self, *, org_slug: str | None = None, after: str = "", limit: int = 500) -> list[HeldSlot]:
        """Slots that are held, of one organization or of all, by run id, `after` the last one of the page before."""
        values = {"org": org_slug, "after": after, "limit": limit}
        async with transaction(self._engine) as connection:
            rows = [dict(row) for row in (await connection.execute(_HELD, values)).mappings()]
        return [HeldSlot(**{**row, "reserved_at": row["reserved_at"].astimezone(UTC)}) for row in rows]

    async def holds(self, run_id: str) -> bool:
        """Whether the run holds a slot."""
        async with transaction(self._engine) as connection:
            return bool(await connection.scalar(_HOLDS, {"run_id": run_id}))

    async def room(self, orgs: Collection[str]) -> Mapping[str, int]:
        """How many slots are free, of these organizations that have any free."""
        async with transaction(self._engine) as connection:
            rows = await connection.execute(_ROOM, {"orgs": sorted(orgs)})
            return {row.org_slug: row.room for row in rows}

    async def standing(self, org_slug: str) -> Standing:
        """The organization's plan and what is used of it."""
        async with transaction(self._engine) as connection:
            return await standing_within(connection, org_slug)

    async def drift(self) -> list[Drift]:
        """Counters that differ from the ledger they are the sums of: none, or there is a defect."""
        return await drift(self._engine)

    async def _free_many(self, asked: Sequence[tuple[str, str | None]]) -> Sequence[bool | None]:
        """The same of many; None where something of one of them keeps all from it."""
        try:
            return await self._free(asked)
        except OF_ONE:
            return [None] * len(asked)

    async def _free(self, asked: Sequence[tuple[str, str | None]]) -> list[bool]:
        async with transaction(self._engine) as connection:
            records = select(run_record).where(run_record.c.run_id.in_({run_id for run_id, _ in asked}))
            stored = {row["run_id"]: StoredRun.from_row(row) for row in (await connection.execute(records)).mappings()}
            # Those whose record is another object's are left out.
            own = [uid is None or run_id not in stored or stored[run_id].object_uid == uid for run_id, uid in asked]
            settlements = [
                (run_id in stored and of_run(stored[run_id], frees=True)) or Settlement(run_id, None, frees=True)
                for run_id in sorted({run_id for (run_id, _), is_own in zip(asked, own, strict=True) if is_own})
            ]
            freed = await settle_within(connection, settlements)
        done: list[bool] = []
        for (run_id, _), is_own in zip(asked, own, strict=True):
            done.append(is_own and run_id in freed)
            if is_own:
                freed.discard(run_id)  # of two that ask for the same run, one has done it
        return done
