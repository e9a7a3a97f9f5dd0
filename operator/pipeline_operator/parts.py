"""The operator's parts, wired: it waits for leadership, watches, and works until it is told to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from typing import Protocol

from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.kube import names
from pipeline_core.kube.api import Api
from pipeline_core.lifecycle.actions import PROGRESS_INTERVAL
from pipeline_core.lifecycle.observed import Published
from pipeline_core.process import now
from pipeline_core.store.facts import AdmissionFacts
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_core.store.schedules import ScheduleRecords
from pipeline_operator import http, metrics
from pipeline_operator.cache import Cache
from pipeline_operator.catalog_check import check_forever
from pipeline_operator.cluster import Cluster
from pipeline_operator.events import Events
from pipeline_operator.expectations import WATCHED, Expectations
from pipeline_operator.health import Health
from pipeline_operator.informer import Informer, WatchEndedError
from pipeline_operator.intake import Intake
from pipeline_operator.lease import Lease, LeaseLostError
from pipeline_operator.namespaces import NamespaceBackError, Namespaces
from pipeline_operator.observed_api import ObservedApi
from pipeline_operator.progress import Message, ProgressReceiver
from pipeline_operator.queue import WorkQueue
from pipeline_operator.run_gauges import RUN_GAUGES
from pipeline_operator.run_parts import Runs
from pipeline_operator.schedules.parts import Schedules
from pipeline_operator.settings import OperatorSettings, RunnerTemplate
from pipeline_operator.sweep import Sweep
from pipeline_operator.tenancy import Tenancy
from pipeline_operator.work import work_forever

# What ends this process, and nothing but the next can mend.
ENDS = (LeaseLostError, WatchEndedError, NamespaceBackError)
# How long a slot may be held by nothing where nobody is refused meanwhile.
_HEAL_SECONDS = 30.0


class Watches(Protocol):
    """What the operator needs of an informer."""

    @property
    def is_ready(self) -> bool: ...

    async def run(self) -> None: ...


class Operator:
    """The parts, wired; made inside a running event loop. `now` is the wall clock in UTC."""

    def __init__(
        self,
        settings: OperatorSettings,
        api: Api,
        records: RunRecords,
        ledger: QuotaLedger,
        facts: AdmissionFacts,
        mirror: ScheduleRecords,
        *,
        now: Callable[[], datetime] = now,
        informer: Callable[..., Watches] = Informer,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_end` is called when leadership or a watch is lost and the process must end, before its parts stop."""
        clock = asyncio.get_running_loop().time
        self.settings = settings
        self._on_end = on_end
        self.queue = WorkQueue()
        self.cache = Cache(lambda namespace, name: self.schedules.run_changed(namespace, name))
        self.catalog = CatalogWatcher(settings.catalog_dir, processor_packages=settings.processor_packages)
        expectations = Expectations(settings.namespaces, settings.watch_patience_seconds, clock)
        self.cluster = cluster = Cluster(ObservedApi(api, expectations))
        self.informers: Sequence[Watches] = ()
        self.namespaces = Namespaces(cluster, settings.namespaces, settings.pod_namespace)
        self.lease = Lease(cluster, settings.pod_namespace, settings.lease, settings.pod_name, clock)
        self.events = events = Events(cluster, now, self.queue.is_busy)
        add = self.queue.add
        tenancy = Tenancy(cluster, settings.tenancy, clock)
        self.schedules = Schedules(
            cluster,
            self.cache,
            add,
            self.catalog,
            settings.env,
            facts,
            records,
            ledger,
            mirror,
            events,
            self._knows_all,
            now,
            clock,
            tenancy.owns,
        )
        self.health = Health(self.queue, expectations, self._ready, clock, self.schedules.stand_still_for)
        # Made once it is known which namespaces there are.
        self._watches = partial(informer, Intake(self.cache, add, expectations, self.schedules.take))
        key = settings.progress_key.get_secret_value()
        accepts = bool(settings.progress_url and key)
        self.receiver = ProgressReceiver(key, self._accept_message, now, self._leads) if accepts else None
        self.runs = Runs(
            settings,
            cluster,
            self.cache,
            self.queue,
            self.catalog,
            records,
            ledger,
            facts,
            tenancy,
            events,
            (settings.progress_url, key) if accepts else None,
            self._knows_all,
            now,
            clock,
        )
        self.reconciler = self.runs.reconciler
        waits = self.runs.room.__contains__
        self.sweep = Sweep(cluster, self.cache, self.queue, records, self.namespaces, waits, self.schedules.resync)
        self._leading = False
        RUN_GAUGES.observe(self.cache, now)

    async def run(self) -> None:
        """Serve, lead, work. Returns when cancelled; raises an ExceptionGroup when the process must start anew.

        Its errors are LeaseLostError (another process may lead), WatchEndedError, NamespaceBackError, or defects.
        """
        self.catalog.current()  # a catalog that is broken from the start is said at once
        RunnerTemplate.load(self.settings.runner_template)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.lease.release)
            stack.push_async_callback(self.events.tell_rest)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._serve())
                group.create_task(self.health.tick_forever())
                group.create_task(check_forever(self.catalog))
                group.create_task(self._lead(group))

    async def _lead(self, group: asyncio.TaskGroup) -> None:
        await self.lease.acquire()
        metrics.LEADER.set(1)
        self._leading = True
        group.create_task(self._as_long_as(self.lease.keep))
        group.create_task(self.events.tell_forever())
        group.create_task(self.health.look_forever(self.cluster))
        served = await self.namespaces.until_served()
        if served or not self.settings.namespaces:
            self.informers = self._informers(served)
            for each in self.informers:
                group.create_task(self._as_long_as(each.run))
        group.create_task(self._as_long_as(self.namespaces.until_back))
        work = work_forever(
            self.queue,
            self.reconciler.reconcile,
            self.settings.concurrency,
            may_begin=self.schedules.ticks_first.wait,
        )
        group.create_task(work)
        group.create_task(self.sweep.run_forever(self.settings.resync_seconds))
        group.create_task(self.runs.room.call_forever())
        group.create_task(self.runs.healing.heal_forever(_HEAL_SECONDS))
        for job in self.schedules.jobs():
            group.create_task(job())

    def _informers(self, served: Sequence[str]) -> list[Watches]:
        """One, or two where schedules can't be watched everywhere: a refused watch ends all of its informer."""
        without = self.namespaces.without_schedules
        if not without.intersection(served or [None]):
            return [self._watches(served)]
        informers = [self._watches(served, [each for each in WATCHED if each != names.SCHEDULES])]
        if with_schedules := [each for each in served if each not in without]:
            informers.append(self._watches(with_schedules, [names.SCHEDULES]))
        return informers

    async def _as_long_as(self, may_go_on: Callable[[], Awaitable[None]]) -> None:
        try:
            await may_go_on()
        except ENDS:
            self._on_end()
            raise

    async def _serve(self) -> None:
        routes = (self.receiver.route(),) if self.receiver else ()
        await http.serve_apart(
            self.settings.http_host,
            self.settings.http_port,
            healthy=self.health.healthy,
            ready=self.health.ready,
            extra_routes=routes,
        )

    def _ready(self) -> bool:
        # A standby is ready too: it takes over, and an upgrade must not wait for it.
        return not self._leading or self._knows_all()

    def _knows_all(self) -> bool:
        is_ready = bool(self.informers) and all(each.is_ready for each in self.informers)
        return is_ready and self.sweep.rounds > 0

    def _leads(self) -> bool:
        return self._leading

    def _accept_message(self, run_id: str, message: Message) -> bool:
        delay = 0.0
        if isinstance(message, Published):
            uid = self.cache.put_published(run_id, message)
        else:
            before = self.cache.progress_of(message.pod_uid)
            uid = self.cache.put_progress(run_id, message)
            # The end of its extraction alone is a new phase; what else is new waits until it may be written.
            enters = message.is_processing and not (before and before.is_processing)
            delay = 0.0 if enters else PROGRESS_INTERVAL.total_seconds()
        if uid is not None:
            self.queue.add(uid, delay)
        return uid is not None
