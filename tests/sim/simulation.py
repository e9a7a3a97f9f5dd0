"""One seed's world from its beginning to its verdict."""

import asyncio
import gc
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from sim import ending
from sim.dials import Dials, dials_of
from sim.oracle import Violation
from sim.trace import Trace
from sim.virtual_time import VirtualLoop
from sim.world import World

# How long, in seconds of the world, it may take from the last fault until every run has ended.
SETTLING = 3600.0
_LOOK = 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a seed."""

    seed: int
    violations: list[Violation]
    trace: Trace
    seconds: float


def simulate(seed: int, dials: Dials | None = None) -> Verdict:
    """Let the world of `seed` happen. Everything in it is a function of the seed (and of `dials`, where given)."""
    # The operator's own jitter comes from the module's generator.
    random.seed(seed)
    loop = VirtualLoop()
    collecting = gc.isenabled()
    gc.disable()  # when it runs depends on what ran before
    world = World(loop, seed, dials or dials_of(seed))
    try:
        with _logs_into(world):
            loop.run_until_complete(_happen(world))
    finally:
        world.close()
        if collecting:
            gc.enable()
    return Verdict(seed, world.oracle.violations, world.trace, loop.time())


async def _happen(world: World) -> None:
    world.begin()
    await asyncio.sleep(world.dials.chaos_seconds)
    world.heal()
    healed_at = world.loop.time()
    for _ in range(int(SETTLING / _LOOK)):
        ending.look(world, healed_at)
        if not ending.unsettled(world):
            break
        await asyncio.sleep(_LOOK)
    # Two rounds of the sweep find whatever no event has told of; a process that begins meanwhile has two of its own.
    until = world.loop.time() + ending.TWO_ROUNDS
    while (left := until - world.loop.time()) > 0:
        await asyncio.sleep(left)
        until = max(until, world.operators.begun_at + ending.TWO_ROUNDS)
    ending.check(world)


@contextmanager
def _logs_into(world: World) -> Iterator[None]:
    """The operators' logs become lines of the trace; what they call a defect is one."""

    def keep(_logger: Any, level: str, event: dict[str, Any]) -> Any:
        said = event.pop("event")
        uid = event.get("uid") or world.truth.uid_of_record(event.get("run_id", "")) if event else ""
        world.note("log", str(uid or ""), f"{level}: {said} {_short(event)}")
        if said in {"reconcile failed", "object not understood"}:
            world.oracle.violated("the operator makes no mistake", str(uid or ""), f"{said}: {_traceback(event)}")
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, structlog.processors.format_exc_info, keep],
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


def _short(event: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={value}" for name, value in sorted(event.items()) if name not in {"exception", "uid", "at"}
    )


def _traceback(event: dict[str, Any]) -> str:
    return str(event.get("exception", "")).strip().splitlines()[-1:][0] if event.get("exception") else ""
