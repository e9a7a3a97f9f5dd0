"""The informer's place: a list, then each change in its order, late, or twice."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline_core.kube import names
from pipeline_operator.intake import Intake
from sim import watches
from sim.api_server import Change

if TYPE_CHECKING:
    from sim_schedules.world import World


class Watches(watches.Watches):
    """Two kinds, each change of which is shown sooner or later."""

    kinds = (names.RUNS, names.SCHEDULES)

    def __init__(self, world: "World", name: str, intake: Intake) -> None:
        super().__init__(world, name, intake)  # type: ignore[arg-type]
        self.feeds: list[Feed] = []

    async def _watch(self, plural: str) -> None:
        world = self._world
        await asyncio.sleep(world.random.uniform(0.01, 1.0))
        while world.chaos.api_away:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(1.0)
        feed = world.feed(plural)
        self.feeds.append(feed)
        for body in world.server.of(plural):
            self._intake.take(plural, body, gone=False)
        self._listed += 1
        while True:
            change, at = await feed.next()
            if (left := at - world.loop.time()) > 0:
                await asyncio.sleep(left)
            while world.chaos.api_away:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(1.0)
            for _ in range(2 if world.chaos.event_twice() else 1):
                self._intake.take(plural, change.body, gone=change.kind == "DELETED")


class Feed:
    """The changes of a kind that one watch has yet to show, and when each is due."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._changes: deque[tuple[Change, float]] = deque()
        self._due = 0.0
        self._waiter: asyncio.Future[None] | None = None

    def put(self, change: Change) -> None:
        """It has happened."""
        self._due = max(self._due, self._world.loop.time() + self._world.chaos.event_delay())
        self._changes.append((change, self._due))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def next(self) -> tuple[Change, float]:
        """The next one, and when it is to be shown."""
        while not self._changes:
            self._waiter = self._world.loop.create_future()
            await self._waiter
        return self._changes.popleft()


def informer(world: "World", name: str) -> Callable[[Intake, Sequence[str]], Watches]:
    """What the operator makes its informer with."""
    return lambda intake, _namespaces: Watches(world, name, intake)
