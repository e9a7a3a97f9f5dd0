"""The parts that see to schedules, wired; made inside a running event loop."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.events import Events
from pipeline_operator.parsing import Body
from pipeline_operator.queue import WorkQueue
from pipeline_operator.schedules.cache import ScheduleCache
from pipeline_operator.schedules.crowd import TicksFirst
from pipeline_operator.schedules.deciding import Deciding
from pipeline_operator.schedules.gauges import SCHEDULE_GAUGES
from pipeline_operator.schedules.lookup import Lookup
from pipeline_operator.schedules.making import Making
from pipeline_operator.schedules.mirror import Mirror, Store
from pipeline_operator.schedules.reconciler import ScheduleReconciler
from pipeline_operator.schedules.resync import Resync
from pipeline_operator.schedules.room import Rooms
from pipeline_operator.schedules.runs import ScheduledRuns
from pipeline_operator.schedules.telling import Telling
from pipeline_operator.schedules.ticker import Ticker
from pipeline_operator.schedules.writer import ScheduleWriter
from pipeline_operator.work import work_forever

_CONCURRENCY = 32
# Until the watches and the first sweep have shown every run and schedule, nothing is decided.
_LOOK_SECONDS = 0.1
# A new catalog, or a clock that was set back, concerns all schedules: they are looked at within this.
_SPREAD_SECONDS = 10.0
_CATALOG_SECONDS = 30.0


async def _anybody(_org: str, _namespace: str) -> bool:
    """Every namespace is shared."""
    return True


class Schedules:
    """What the operator does about schedules. `runs` and `wake_run` are the runs' cache and queue.

    `now` is the wall clock in UTC, `clock` monotonic, in seconds. `owns` says whether runs of an organization may be
    in a namespace.
    """

    def __init__(
        self,
        cluster: Cluster,
        runs: Cache,
        wake_run: Callable[[str], None],
        catalog: CatalogWatcher,
        env: str,
        facts: AdmissionFacts,
        records: RunRecords,
        ledger: QuotaLedger,
        store: Store,
        events: Events,
        knows_all: Callable[[], bool],
        now: Callable[[], datetime],
        clock: Callable[[], float],
        owns: Callable[[str, str], Awaitable[bool]] = _anybody,
    ) -> None:
        self._knows_all = knows_all
        self._clock = clock
        # When the work began.
        self._began: float | None = None
        self._now = now
        self.cache = cache = ScheduleCache()
        self.queue = queue = WorkQueue(clock)
        self.ticks_first = TicksFirst(queue, clock)
        self.ticker = Ticker(now, queue.add_first, self._wake_all)
        self.mirror = Mirror(store, cache)
        rooms = Rooms(ledger, cache, runs, now, owns)
        scheduled = ScheduledRuns(runs)
        self.lookup = Lookup(catalog, env, facts, records, rooms, now, clock)
        self.reconciler = ScheduleReconciler(
            cluster,
            cache,
            scheduled,
            Deciding(self.lookup, scheduled, now),
            Making(cluster, runs, wake_run, env, now),
            ScheduleWriter(cluster, cache, now),
            self.ticker,
            self.mirror,
            Telling(events, now),
            self.ticks_first.presses,
            now,
        )
        self._resync = Resync(cluster, cache, self.wake, self._gone)
        SCHEDULE_GAUGES.observe(cache)

    def take(self, body: Body, gone: bool) -> None:
        """What the watch shows."""
        uid = body["metadata"]["uid"]
        if gone:
            self.cache.bury(uid)
            self._gone(uid)
        elif self.cache.put(body):
            self.wake(uid)

    def wake(self, uid: str) -> None:
        """The schedule of this UID has news."""
        entry = self.cache.get(uid)
        next_run_at = entry.schedule.status.next_run_at if entry else None
        if next_run_at is not None and next_run_at <= self._now():
            self.queue.add_first(uid)
        else:
            self.queue.add(uid)

    def run_changed(self, namespace: str, schedule: str) -> None:
        """A run that names this schedule was made, has ended or is gone."""
        if uid := self.cache.named(namespace, schedule):
            self.queue.add(uid)

    async def resync(self, served: Sequence[str | None], gone: Sequence[str | None]) -> None:
        """A part of the sweep, see `Resync.round`."""
        listed = await self._resync.round(served, gone)
        self.mirror.compare([*listed.namespaces, *gone], listed.uids)

    def stand_still_for(self) -> float:
        """How long, in seconds, no schedule has been worked on though one was due, since the work began."""
        return 0.0 if self._began is None else min(self.queue.stands_still_for(), self._clock() - self._began)

    def jobs(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What goes on until it is cancelled, once this process leads."""
        return self._work, self._tick, self.mirror.write_forever, self._follow_catalog

    async def _work(self) -> None:
        await self._until_all_is_known()
        self._began = self._clock()
        await work_forever(self.queue, self.reconciler.reconcile, _CONCURRENCY, kind="schedule")

    async def _tick(self) -> None:
        await self._until_all_is_known()
        await self.ticker.tick_forever()

    async def _until_all_is_known(self) -> None:
        while not self._knows_all():  # noqa: ASYNC110 - it becomes true in more than one place
            await asyncio.sleep(_LOOK_SECONDS)

    async def _follow_catalog(self) -> None:
        """Look at all schedules again when the catalog has changed: they may work now, or not any more."""
        known = self.lookup.catalog()
        while True:
            await asyncio.sleep(_CATALOG_SECONDS)
            newest = self.lookup.catalog()
            if newest is not known:
                known = newest
                self._wake_all()

    def _wake_all(self) -> None:
        for entry in self.cache.entries():
            delay = random.uniform(0.0, _SPREAD_SECONDS)  # noqa: S311 - spreads load, keeps no secret
            self.queue.add(entry.schedule.uid, delay)

    def _gone(self, uid: str) -> None:
        self.ticker.set(uid, None)
        self.mirror.changed(uid)
