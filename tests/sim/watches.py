"""The informer's place: lists and watches whose events come late, twice, out of order between kinds, or never."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from pipeline_operator.intake import Intake
from sim.api_server import Change

if TYPE_CHECKING:
    from sim.world import World


class Watches:
    """See `pipeline_operator.informer.Informer`: what kopf shows of four kinds, each in its own order and time."""

    kinds: ClassVar[tuple[str, ...]] = (names.RUNS, names.SCHEDULES, "jobs", "pods")

    def __init__(self, world: "World", name: str, intake: Intake) -> None:
        self._world = world
        self._name = name
        self._intake = intake
        self._listed = 0

    @property
    def is_ready(self) -> bool:
        """Whether the watches have started."""
        return self._listed == len(self.kinds)

    async def run(self) -> None:
        """Watch until the process ends."""
        async with asyncio.TaskGroup() as group:
            for plural in self.kinds:
                group.create_task(self._watch(plural))

    async def _watch(self, plural: str) -> None:
        first = True
        while True:
            # At once, or after whatever else a process begins with.
            await asyncio.sleep(self._world.random.choice((0.0, self._world.random.uniform(0.01, 1.0))))
            if self._world.chaos.api_away:
                continue
            version = self._world.chaos.list_version(plural)
            for body in self._world.server.as_of(plural, version):
                await self._show(plural, body, gone=False)
            self._listed += first
            first = False
            await self._follow(plural, version)

    async def _follow(self, plural: str, version: int) -> None:
        """Show each change after `version`; returns where the server answers 410 and a new list is due."""
        log = self._world.server.log.setdefault(plural, [])
        position = next((i for i, change in enumerate(log) if change.version > version), len(log))
        while True:
            if position == len(log):
                await self._world.changed(plural)
            if self._world.chaos.watch_expires():
                # A list tells of no deletion, and of none of the states between.
                self._world.note(self._name, "", f"watch of {plural}: 410 Gone")
                return
            change = log[position]
            position += 1
            if self._overtaken(change, log[position:]):
                continue
            await self._deliver(plural, change)

    def _overtaken(self, change: Change, later: Sequence[Change]) -> bool:
        """kopf hands on the newest of an object's events where several wait."""
        uid = change.body["metadata"]["uid"]
        return any(other.body["metadata"]["uid"] == uid for other in later)

    async def _deliver(self, plural: str, change: Change) -> None:
        chaos = self._world.chaos
        await asyncio.sleep(chaos.event_delay())
        for _ in range(chaos.event_copies()):
            await self._show(plural, change.body, gone=change.kind == "DELETED")

    async def _show(self, plural: str, body: Json, *, gone: bool) -> None:
        if plural in {"jobs", "pods"} and names.LABEL_RUN_ID not in (body["metadata"].get("labels") or {}):
            return
        self._intake.take(plural, body, gone=gone)


def informer(world: "World", name: str) -> Callable[[Intake, Sequence[str]], Watches]:
    """What the operator makes its informer with."""
    return lambda intake, _namespaces: Watches(world, name, intake)
