"""One seed's world from its beginning to its verdict."""

import asyncio
import gc
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from pipeline_operator.schedules import mirror, ticker
from sim.trace import Trace
from sim_schedules.clock import Loop
from sim_schedules.dials import Dials, dials_of
from sim_schedules.judge import Verdict as Tick
from sim_schedules.oracle import Violation
from sim_schedules.verdict import Verdicts
from sim_schedules.world import World

# How long it may take from the last fault until nothing is left to be caught up.
_SETTLING = 4 * 86_400.0
_LOOK = 600.0
# Of a status that nothing has stirred.
_QUIET = 3_600.0
_SELDOM = 20.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a seed. `ticks` counts those that had to have a run, might have one, and had to have none."""

    seed: int
    violations: list[Violation]
    trace: Trace
    seconds: float
    ticks: dict[Tick, int]
    runs: int
    took: float
    status_writes: int


def simulate(seed: int, dials: Dials | None = None, *, traced: bool = True) -> Verdict:
    """Let the world of `seed` happen. Everything in it is a function of the seed (and of `dials`, where given)."""
    random.seed(seed)  # the operator's own jitter
    dials = dials or dials_of(seed)
    loop = Loop(dials.beginning)
    collecting = gc.isenabled()
    gc.disable()  # when it runs depends on what ran before
    world = World(loop, seed, dials, traced=traced)
    began = time.monotonic()
    try:
        with _looking_seldom(), _logs_into(world, traced=traced):
            verdicts = loop.run_until_complete(_happen(world))
    finally:
        world.close()
        if collecting:
            gc.enable()
    runs = sum(len(each.runs) for each in world.truth.schedules.values())
    took = time.monotonic() - began
    oracle = world.oracle
    return Verdict(seed, oracle.violations, world.trace, loop.time(), verdicts.counts, runs, took, oracle.status_writes)


async def _happen(world: World) -> Verdicts:
    world.begin()
    await asyncio.sleep(world.dials.seconds_in_all)
    world.heal()
    until = world.loop.time() + _SETTLING
    # What is due while nobody is looking on is no tick of the world's.
    while _catches_up(world) and world.loop.time() < until:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(_LOOK)
    await asyncio.sleep(60.0 - world.loop.time() % 60.0 + 45.0)
    written = await _stay_quiet(world)
    verdicts = Verdicts(world, end := world.loop.time())
    for uid, begin in written.items():
        verdicts.check_quiet(world.truth.schedules[uid], begin)
    for schedule in world.truth.by_key.values():
        # The newest news may have to be told yet.
        if end - schedule.stirred > 2 * world.dials.grace:
            for wrong in verdicts.check_status(schedule):
                world.oracle.violated("the status tells the truth", schedule.key[2], wrong)
    verdicts.check()
    return verdicts


def _catches_up(world: World) -> bool:
    for schedule in world.truth.by_key.values():
        status = world.server.get(schedule.key)["status"]
        backfill = (status.get("backfill") or {}).get("state") in {"Running", "Waiting"}
        works = schedule.versions[-1].spec["pipeline"] == "billing"
        if ("backlog" in status or backfill) and works:
            return True
    return not world.works_now() or not all(steps.values[-1][1] for steps in world.active.values())


async def _stay_quiet(world: World) -> dict[str, float]:
    """An hour; returns the schedules whose status was written in it though nothing had happened since then."""
    begin = world.loop.time()
    before = {uid: len(each.writes) for uid, each in world.truth.schedules.items()}
    await asyncio.sleep(_QUIET)
    return {
        uid: begin
        for uid, schedule in world.truth.schedules.items()
        if schedule.deleted is None
        and len(schedule.writes) > before.get(uid, 0)
        and schedule.stirred < begin - 2 * world.dials.grace
    }


@contextmanager
def _looking_seldom() -> Iterator[None]:
    """What looks at the clock or for news each second would be all that a month consists of."""
    before = ticker._SLEEP_SECONDS, mirror._SECONDS
    ticker._SLEEP_SECONDS, mirror._SECONDS = _SELDOM, _SELDOM
    try:
        yield
    finally:
        ticker._SLEEP_SECONDS, mirror._SECONDS = before


@contextmanager
def _logs_into(world: World, *, traced: bool) -> Iterator[None]:
    """The operators' logs become lines of the trace; what they call a defect is one."""

    def keep(_logger: Any, level: str, event: dict[str, Any]) -> Any:
        said = event.pop("event")
        if said in {"reconcile failed", "object not understood", "schedules not mirrored"} and "exc_info" in event:
            formatted = structlog.processors.format_exc_info(_logger, level, event)
            about = str(formatted.get("exception", "")).strip()
            world.oracle.violated("the operator makes no mistake", "", f"{said}: {about[-1500:]}")
        elif traced and level != "info":
            words = " ".join(f"{name}={value}" for name, value in sorted(event.items()))
            world.note("log", str(event.get("schedule", "")), f"{level}: {said} {words}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[keep], cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**before)
