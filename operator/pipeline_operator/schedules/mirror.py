"""Keeps PostgreSQL's mirror of the schedules as the objects are: every two seconds what has changed, seldom all."""

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

import structlog

from pipeline_core import identifiers
from pipeline_core.errors import PipelinesError
from pipeline_core.schedules.observed import Schedule
from pipeline_core.store.schedules import ScheduleRow
from pipeline_operator.schedules.cache import ScheduleCache

_log = structlog.get_logger(__name__)

_SECONDS = 2.0
# Rows in one transaction.
_MOST = 500


class Store(Protocol):
    """What is asked of `ScheduleRecords`."""

    async def put_many(self, rows: Sequence[ScheduleRow]) -> int: ...

    async def remove_many(self, schedule_ids: Collection[str]) -> int: ...

    async def listed(self, namespaces: Sequence[str] | None = None) -> set[str]: ...


class Mirror:
    """`namespaces` are those that are watched (none: all). Only what says something new is written."""

    def __init__(self, store: Store, cache: ScheduleCache, namespaces: Sequence[str]) -> None:
        self._store = store
        self._cache = cache
        self._namespaces = list(namespaces) or None
        self._changed: dict[str, None] = {}
        # What was written last of each, by this process.
        self._written: dict[str, ScheduleRow] = {}
        self._compare = False

    def changed(self, uid: str) -> None:
        """The schedule of this UID has news, or is gone."""
        self._changed[uid] = None

    def compare(self) -> None:
        """Compare all: every schedule is known by now."""
        self._compare = True

    async def write_forever(self) -> None:
        """Until cancelled; what can't be written is written once PostgreSQL is back."""
        said: str | None = None
        while True:
            await asyncio.sleep(_SECONDS)
            try:
                await self.write()
            except PipelinesError as error:
                if str(error) != said:
                    _log.warning("schedules not mirrored", error=str(error))
                said = str(error)
            except Exception:
                _log.exception("schedules not mirrored")
            else:
                said = None

    async def write(self) -> None:
        """Write what has changed. Raises StoreUnavailableError; what wasn't written is written the next time."""
        if self._compare:
            await self._find_differences()
        while self._changed:
            uids = list(self._changed)[:_MOST]
            rows = {uid: row_of(entry.current) for uid in uids if (entry := self._cache.get(uid)) is not None}
            news = {uid: row for uid, row in rows.items() if self._written.get(uid) != row}
            if news:
                await self._store.put_many(list(news.values()))
            if gone := [uid for uid in uids if uid not in rows]:
                await self._store.remove_many([identifiers.schedule_id(uid) for uid in gone])
            # crash here: the next process compares all.
            self._written |= news
            for uid in gone:
                self._written.pop(uid, None)
            for uid in uids:
                # Unless it has changed meanwhile, or come back.
                entry = self._cache.get(uid)
                if (None if entry is None else row_of(entry.current)) == rows.get(uid):
                    self._changed.pop(uid, None)

    async def _find_differences(self) -> None:
        """Have those written of which the mirror knows nothing, or this process doesn't know what it knows; and those
        removed that aren't there any more."""
        there = {identifiers.schedule_id(entry.schedule.uid): entry.schedule.uid for entry in self._cache.entries()}
        listed = await self._store.listed(self._namespaces)
        for schedule_id, uid in there.items():
            if schedule_id not in listed:
                self._written.pop(uid, None)
            if uid not in self._written:
                self._changed[uid] = None
        if gone := listed - there.keys():
            await self._store.remove_many(sorted(gone))
        self._compare = False


def row_of(schedule: Schedule) -> ScheduleRow:
    """The schedule as the mirror has it."""
    spec, status = schedule.spec, schedule.status
    return ScheduleRow(
        schedule_id=identifiers.schedule_id(schedule.uid),
        org_slug=spec.org,
        provider=spec.provider,
        domain=spec.domain,
        pipeline=spec.pipeline,
        cron_expression=spec.cron_expression,
        is_enabled=spec.enabled,
        last_run_at=status.last_run_at,
        next_run_at=status.next_run_at,
        parameters=dict(spec.parameters),
        created_at=schedule.created_at,
        updated_at=schedule.edited_at,
        object_namespace=schedule.namespace,
        object_name=schedule.name,
    )
