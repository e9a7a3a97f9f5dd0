"""The operator's processes: the production parts of schedules as `Operator` wires them, killed, frozen, doubled."""

import asyncio
import contextlib
import weakref
from typing import TYPE_CHECKING, Any

from sim.base import BaseInstance
from sim.processes import Process
from sim_schedules.postgres import Facts, Ledger, Records
from sim_schedules.shell import Shell

if TYPE_CHECKING:
    from sim_schedules.world import World


class _Steps(weakref.WeakSet[Any]):
    """A process of a month has had many tasks; those that are over are forgotten."""

    def append(self, steps: Any) -> None:
        self.add(steps)


class LongProcess(Process):
    """A process that lives for days."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._steps = _Steps()  # type: ignore[assignment]

    def bury(self) -> None:
        """See `Process.bury`."""
        self.alive = False
        for steps in list(self._steps):
            with contextlib.suppress(BaseException):
                steps.inner.close()


class Instance(BaseInstance):
    """One process and the operator in it."""

    def __init__(self, world: "World", name: str) -> None:
        super().__init__(world, LongProcess(name))
        self.shell = Shell(world, self.process, Records(world), Ledger(world), Facts(world))
        self.is_ready = False

    @property
    def is_able(self) -> bool:
        """Whether it works."""
        return self.process.alive and not self.process.frozen and self.is_ready

    def start(self) -> None:
        """See `BaseInstance.start`."""
        super().start()
        self._world.spawn(self._until_ready())

    async def work(self) -> None:
        """See `BaseInstance.work`."""
        await self.shell.run()

    async def _until_ready(self) -> None:
        while not self.shell.is_ready and self.process.alive:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.5)
        if self.process.alive:
            self.is_ready = True
            self._world.note(self.process.name, "", "is ready")
            self._world.look_who_is_able()


class Operators:
    """The Deployment: keeps one process running, except for planned stops; a second one for some hours."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._made = 0
        self.instances: list[Instance] = []
        self.buried: list[Process] = []
        # No process is started before this.
        self._not_before = 0.0

    async def keep_one(self) -> None:
        """Start one; start it again whenever it ends."""
        world, random = self._world, self._world.random
        while True:
            self._made += 1
            instance = Instance(world, f"operator-{self._made}")
            self.instances.append(instance)
            instance.start()
            world.look_who_is_able()
            try:
                error = await instance.ended
            finally:
                self.instances.remove(instance)
                self.buried.append(instance.process)
                instance.process.kill()
                instance.process.bury()
                world.drop_feeds(instance.shell.watches.feeds)
                world.look_who_is_able()
            if error is not None:
                world.oracle.violated("the operator goes on", "", f"{error!r}")
            begin = max(self._not_before, world.loop.time() + random.uniform(0.5, 15.0))
            await asyncio.sleep(world.calmly(begin) - world.loop.time())

    async def suffer(self) -> None:
        """The stops, kills, freezes and second processes of the seed."""
        world, random, dials = self._world, self._world.random, self._world.dials
        deeds = [
            *[self._stop] * dials.stops,
            *[self._kill] * dials.kills,
            *[self._freeze] * dials.freezes,
            *[self._double] * dials.seconds,
        ]
        random.shuffle(deeds)
        times = sorted(random.uniform(600.0, dials.seconds_in_all) for _ in deeds)
        for at, deed in zip(times, deeds, strict=True):
            await asyncio.sleep(max(0.0, world.calmly(at) - world.loop.time()))
            world.spawn(deed())

    async def _stop(self) -> None:
        """For seconds, hours, or days."""
        world = self._world
        seconds = world.random.choice((20.0, 200.0, 2_000.0, 9_000.0, 30_000.0, 100_000.0, 200_000.0))
        seconds = min(seconds, world.dials.seconds_in_all / 4)
        world.note("chaos", "", f"no operator for {seconds:.0f} s")
        self._not_before = world.loop.time() + seconds
        for instance in list(self.instances):
            instance.process.kill()

    async def _kill(self) -> None:
        """At one of its next calls, whose answer nobody hears."""
        random = self._world.random
        if self.instances:
            random.choice(self.instances).process.doom = (random.randint(1, 12), random.random() < 0.5)

    async def _freeze(self) -> None:
        world = self._world
        if self.instances:
            process = world.random.choice(self.instances).process
            seconds = world.random.choice((5.0, 60.0, 600.0))
            world.note("chaos", "", f"{process.name} is frozen for {seconds} s")
            process.freeze()
            world.look_who_is_able()
            await asyncio.sleep(seconds)
            process.thaw()
            world.look_who_is_able()

    async def _double(self) -> None:
        world = self._world
        world.note("chaos", "", "another operator leads, too")
        second = world.spawn(self.keep_one())
        await asyncio.sleep(world.random.uniform(600, 40_000))
        second.cancel()
        world.note("chaos", "", "the other operator goes")

    def heal(self) -> None:
        """Nothing ends or stops them any more."""
        for instance in self.instances:
            instance.process.doom = None
            instance.process.thaw()
        self._not_before = 0.0
