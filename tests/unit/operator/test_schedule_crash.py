"""Whatever befalls the operator at any one call of a schedule's story, its runs and its final status are the same.

Every story is told once for each call that it makes to the API server or to PostgreSQL, with the process dying there,
or the call failing; before the call or, so that its answer is lost, after it.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from inspect import iscoroutinefunction
from typing import Any

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import StoreUnavailableError
from support.schedule_operator import Died, ScheduleOperator

HOUR = timedelta(hours=1)
Story = Callable[["Told"], Awaitable[None]]


class Told(ScheduleOperator):
    """A world in which something befalls the operator at its nth call."""

    def __init__(self, befalls: str = "", nth: int = 0, *, after: bool = False) -> None:
        self.calls = 0
        self._befalls, self._nth, self._after = befalls, nth, after
        super().__init__()
        request = self.kubernetes.request
        self.kubernetes.request = self._called(request, KubeUnavailableError)  # type: ignore[method-assign]
        self.records = Store(self.records, self)  # type: ignore[assignment]
        self.ledger = Store(self.ledger, self)  # type: ignore[assignment]
        self.start_operator()

    def _called(self, call: Callable[..., Awaitable[Any]], failure: type[Exception]) -> Callable[..., Awaitable[Any]]:
        async def called(*arguments: Any, **named: Any) -> Any:
            if arguments[0] == "POST" and arguments[1].endswith("/events"):
                return await call(*arguments, **named)  # they only inform
            self.calls += 1
            befalls = self.calls == self._nth
            error = Died() if self._befalls == "dies" else failure("connection lost")
            if befalls and not self._after:
                raise error
            result = await call(*arguments, **named)
            if befalls:
                raise error
            return result

        return called

    async def on(self, seconds: float) -> None:
        """Time goes on; whatever dies or fails meanwhile is survived."""
        self.pass_time(seconds)
        await self.survive()


class Store:
    """The records or the ledger, whose every method is a call."""

    def __init__(self, inner: Any, world: Told) -> None:
        self._inner = inner
        self._world = world

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        return self._world._called(method, StoreUnavailableError) if iscoroutinefunction(method) else method


async def fires(world: Told) -> None:
    world.schedule()
    await world.survive()
    await world.on(3600)
    world.end("nightly-20261122t0400z")
    await world.on(30)
    await world.on(3570)


async def replaces(world: Told) -> None:
    world.schedule(concurrencyPolicy="Replace")
    await world.survive()
    await world.on(3600)
    await world.on(3600)


async def prunes(world: Told) -> None:
    world.schedule(successfulRunsHistoryLimit=0)
    await world.survive()
    await world.on(3600)
    world.end("nightly-20261122t0400z")
    await world.on(10)


async def skips(world: Told) -> None:
    world.schedule()
    await world.survive()
    await world.on(3600)
    await world.on(3600)


async def is_triggered(world: Told) -> None:
    world.schedule(enabled=False)
    await world.survive()
    world.edit(annotations={names.ANNOTATION_TRIGGER: "now"})
    await world.on(1)
    await world.on(15)  # PostgreSQL is asked again after ten seconds


async def catches_up(world: Told) -> None:
    world.schedule(catchUp="All")
    await world.survive()
    world.pass_time(3 * 3600)
    world.start_operator()
    await all_end(world)


async def backfills(world: Told) -> None:
    world.schedule(
        enabled=False, backfill={"from": "2026-11-20T00:00:00Z", "to": "2026-11-20T02:00:00Z", "concurrency": 2}
    )
    await world.survive()
    await all_end(world)


async def all_end(world: Told) -> None:
    """Each run that is made ends well some time later."""
    for _ in range(5):
        await world.on(60)
        for name, body in world.runs().items():
            if not body.get("status"):
                world.end(name, Phase.COMPLETED)
    await world.on(60)


STORIES: dict[Story, int] = {
    fires: 2, replaces: 2, prunes: 1, skips: 1, is_triggered: 1, catches_up: 3, backfills: 3,
}  # fmt: skip
# The digits that a run's name has of its id, which is of the schedule's UID.
_OF_UID = re.compile(r"-now-[0-9a-f]{10}$|(?<=z)-[0-9a-f]{4}$")
# They depend on when something was tried again.
_TIMES = {"lastRunAt", "lastEndedAt", "startedAt", "completedAt", "lastTransitionTime"}


async def told(story: Story, befalls: str = "", nth: int = 0, *, after: bool = False) -> Told:
    world = Told(befalls, nth, after=after)
    world.plans.limits["acme"] = Limits(1_000, 10_000, 10)
    await story(world)
    return world


def outcome(world: Told) -> tuple[Any, Any]:
    """The runs' names and specs, and the status, but for what depends on the very second."""
    runs = {name: {**body["spec"], "scheduleRef": ""} for name, body in world.runs().items()}
    for spec in runs.values():
        for field in ("runId", "createdBy"):
            del spec[field]  # of the schedule's UID
        if spec["logicalTime"][14:] != "00:00Z":
            del spec["logicalTime"]  # a trigger's
    return {_OF_UID.sub("", name): spec for name, spec in runs.items()}, stripped(world.of())


def stripped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: stripped(each) for key, each in value.items() if key not in _TIMES}
    return [stripped(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("befalls", ["dies", "fails"])
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_nothing_that_befalls_at_any_call_changes_the_end(story: Story, befalls: str, after: bool) -> None:
    undisturbed = await told(story)
    made = sum(method == "POST" for method, _ in undisturbed.writes())
    assert made == STORIES[story]
    for nth in range(1, undisturbed.calls + 1):
        world = await told(story, befalls, nth, after=after)
        assert outcome(world) == outcome(undisturbed), f"at call {nth} of {undisturbed.calls}"
