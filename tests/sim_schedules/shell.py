"""The production parts that see to schedules, wired as `Operator` wires them; runs are played by the actor."""

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline_core.catalog.snapshot import Catalog
from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.schedules import ScheduleRow
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.events import Events
from pipeline_operator.expectations import Expectations
from pipeline_operator.intake import Intake
from pipeline_operator.schedules.parts import Schedules
from sim.processes import Process
from sim_schedules.connection import Connection
from sim_schedules.runs import Runs
from sim_schedules.watches import Watches

if TYPE_CHECKING:
    from sim_schedules.postgres import Facts, Ledger, Records
    from sim_schedules.world import World

_CATALOG = CatalogWatcher(Path(__file__).parents[2] / "configs").current()
_RESYNC = 3_600.0
_RETRY = 5.0


class _Catalog:
    """Files that nobody changes, and nobody has to look at."""

    def current(self) -> Catalog:
        return _CATALOG


class Mirror:
    """See `pipeline_core.store.schedules.ScheduleRecords`; outlives the processes."""

    def __init__(self, fails: Callable[[], bool]) -> None:
        self._fails = fails
        self.rows: dict[str, ScheduleRow] = {}

    async def put_many(self, rows: Sequence[ScheduleRow]) -> int:
        """Insert or update."""
        await self._answer()
        self.rows |= {row.schedule_id: row for row in rows}
        return len(rows)

    async def remove_many(self, schedule_ids: Collection[str]) -> int:
        """Delete."""
        await self._answer()
        for each in schedule_ids:
            self.rows.pop(each, None)
        return len(schedule_ids)

    async def listed(self, _namespaces: Sequence[str] | None = None) -> set[str]:
        """The ids of all."""
        await self._answer()
        return set(self.rows)

    async def _answer(self) -> None:
        if self._fails():
            raise StoreUnavailableError("no connection")


class Shell:
    """One process' parts. `is_ready` is whether it knows all and works."""

    def __init__(self, world: "World", process: Process, records: "Records", ledger: "Ledger", facts: "Facts") -> None:
        clock = world.loop.time
        cluster = Cluster(Connection(world, process))
        self.cache = Cache(lambda namespace, name: self.schedules.run_changed(namespace, name))
        self._events = Events(cluster, world.clock.now)
        self._runs = Runs(world, self.cache, cluster, records)
        self.schedules = Schedules(
            cluster,
            self.cache,
            self._runs.wake,
            _Catalog(),
            "dev",
            facts,
            records,
            ledger,
            world.mirror,
            self._events,
            lambda: self.is_ready,
            world.clock.now,
            clock,
        )
        intake = Intake(self.cache, self._runs.wake, Expectations((), 1e9, clock), self.schedules.take)
        self.watches = Watches(world, process.name, intake)
        self._rounds = 0

    @property
    def is_ready(self) -> bool:
        """Whether the watches and a first sweep have shown everything."""
        return self.watches.is_ready and self._rounds > 0

    async def run(self) -> None:
        """Until the process ends."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.watches.run())
            group.create_task(self._events.tell_forever())
            group.create_task(self._runs.run())
            group.create_task(self._sweep())
            for job in self.schedules.jobs():
                group.create_task(job())

    async def _sweep(self) -> None:
        while True:
            try:
                await self.schedules.resync([None], [])
                self._rounds += 1
            except (KubeError, KubeUnavailableError):
                await asyncio.sleep(_RETRY)
            else:
                await asyncio.sleep(_RESYNC * random.uniform(0.9, 1.1))
