"""A process that has just begun knows runs from before: it sees to them before one of them forbids a tick."""

from datetime import timedelta

import pytest

from support.operator_world import T0
from support.schedule_operator import ScheduleOperator

HOUR = timedelta(hours=1)


@pytest.fixture
async def begun_again() -> ScheduleOperator:
    """The run of 04:00 seems to go on when a new process begins, at 05:00."""
    world = ScheduleOperator()
    world.schedule(concurrencyPolicy="Forbid")
    await world.until(T0 + HOUR)
    world.pass_time(HOUR.total_seconds())
    world.start_operator()
    await world.turn_once()
    return world


async def test_a_run_that_ended_meanwhile_forbids_nothing(begun_again: ScheduleOperator) -> None:
    assert sorted(begun_again.runs()) == ["nightly-20261122t0400z"]
    begun_again.end("nightly-20261122t0400z")  # as the runs' own work finds out
    begun_again.pass_time(1)
    await begun_again.turn()
    assert sorted(begun_again.runs()) == ["nightly-20261122t0400z", "nightly-20261122t0500z"]
    assert begun_again.of()["missed"] == 0


async def test_a_run_that_goes_on_forbids_the_tick(begun_again: ScheduleOperator) -> None:
    for entry in begun_again.cache.entries():
        entry.seen_to = True
    begun_again.pass_time(1)
    await begun_again.turn()
    assert sorted(begun_again.runs()) == ["nightly-20261122t0400z"]
    assert begun_again.of()["lastMissed"]["reason"] == "StillRunning"


async def test_nobody_waits_for_ever(begun_again: ScheduleOperator) -> None:
    begun_again.pass_time(31)
    await begun_again.turn()
    assert begun_again.of()["lastMissed"]["reason"] == "StillRunning"
