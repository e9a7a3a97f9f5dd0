"""Keeps PostgreSQL's mirror of the schedules as the objects are: every two seconds what has changed, seldom all."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Look:
    """What a look at all schedules of these namespaces (None: of all) has found."""

    namespaces: Sequence[str] | None
    uids: Collection[str]


class Mirror:
    """Only what says something new is written."""

    def __init__(self, store: Store, cache: ScheduleCache) -> None:
        self._store = store
        self._cache = cache
        self._changed: dict[str, None] = {}
        # What was written last of each, by this process.
        self._written: dict[str, ScheduleRow] = {}
        self._look: _Look | None = None

    def changed(self, uid: str) -> None:
        """The schedule of this UID has news, or is gone."""
        self._changed[uid] = None

    def compare(self, namespaces: Sequence[str | None], uids: Collection[str]) -> None:
        """Have the mirror say what is in these namespaces (None: in all), which has been looked at.

        `uids` are those of all objects there, of those that can't be understood, too: they aren't gone. Of any other
        namespace nothing is removed: this process may have no right to look there, or it is another installation's.
        """
        self._look = _Look(None if None in namespaces else [each for each in namespaces if each], uids)

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
        if self._look is not None:
            await self._find_differences(self._look)
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

    async def _find_differences(self, look: _Look) -> None:
        """Have those removed that aren't there any more, and all others written.

        All, since a row may be wrong: somebody has changed it, or a predecessor wrote it late. The store leaves out
        those that say nothing new.
        """
        listed = await self._store.listed(look.namespaces)
        there = {entry.schedule.uid for entry in self._cache.entries()}
        if gone := listed - {identifiers.schedule_id(uid) for uid in there.union(look.uids)}:
            await self._store.remove_many(sorted(gone))
        # crash here: the next process compares all.
        self._changed |= dict.fromkeys(there)
        self._written.clear()
        if self._look is look:  # or there has been another one meanwhile
            self._look = None


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
