"""What a quota leaves for catching up and backfills, beside the ticks to come; and why it leaves nothing."""

from datetime import timedelta
from typing import Any

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.kube import names
from pipeline_core.schedules.decision import Room
from pipeline_core.store.runs import NewRun
from pipeline_operator.schedules.parsing import parse_schedule
from pipeline_operator.schedules.room import Rooms, ticks_within
from support.operator_world import T0
from support.schedule_operator import NAMESPACE, ScheduleOperator

DAY = timedelta(days=1)


@pytest.fixture
def world() -> ScheduleOperator:
    return ScheduleOperator()


def rooms(world: ScheduleOperator) -> Rooms:
    world.show()
    return Rooms(world.ledger, world.parts.cache, world.cache, world.now, owns)


async def owns(_org: str, namespace: str) -> bool:
    return namespace == NAMESPACE


async def use(world: ScheduleOperator, runs: int) -> None:
    for number in range(runs):
        record = NewRun(
            run_id=f"run_{number}", org_slug="acme", provider="gcp", domain="cost", pipeline="billing",
            created_at=world.time, created_by="somebody",
        )  # fmt: skip
        await world.ledger.reserve(record)


# An hour until the end of the day, a day until the end of the month, as the stand-in for the ledger has it.
@pytest.mark.parametrize(
    ("per_day", "per_month", "used", "spec", "room"),
    [
        (20, 1_000, 0, {"enabled": False}, 20),
        (20, 1_000, 5, {"enabled": False}, 15),
        (20, 1_000, 5, {"cronExpression": "*/10 * * * *"}, 9),
        (20, 30, 5, {"cronExpression": "0 * * * *"}, 1),
        (20, 1_000, 5, {"cronExpression": "no expression"}, 15),
        (20, 1_000, 5, {"org": "globex"}, 15),
    ],
)
async def test_it_is_what_is_left_beside_the_ticks_to_come(
    world: ScheduleOperator, per_day: int, per_month: int, used: int, spec: dict[str, Any], room: int
) -> None:
    world.plans.limits["acme"] = Limits(per_day, per_month, 5)
    world.schedule(**spec)
    await use(world, min(used, 5))
    assert await rooms(world).of("acme") == Room(room)


@pytest.mark.parametrize(
    ("per_day", "per_month", "message", "after"),
    [
        (5, 1_000, "5 of the day's 5 runs are kept for ticks to come", timedelta(minutes=5)),
        (0, 1_000, "Daily pipeline limit (0) reached", timedelta(minutes=5)),
        (1_000, 24, "24 of the month's 24 runs are kept for ticks to come", timedelta(minutes=5)),
    ],
)
async def test_without_any_it_says_which_limit_is_reached(
    world: ScheduleOperator, per_day: int, per_month: int, message: str, after: timedelta
) -> None:
    world.plans.limits["acme"] = Limits(per_day, per_month, 5)
    world.schedule("hourly")
    world.schedule("often", cronExpression="*/12 3 * * *")
    assert await rooms(world).of("acme") == Room(0, message, T0 + after)


async def test_the_day_is_used_up(world: ScheduleOperator) -> None:
    world.plans.limits["acme"] = Limits(2, 1_000, 5)
    world.schedule()
    await use(world, 2)
    assert await rooms(world).of("acme") == Room(0, "Daily pipeline limit (2) reached", T0 + timedelta(minutes=5))


async def test_runs_count_that_were_made_and_are_to_begin_yet(world: ScheduleOperator) -> None:
    world.plans.limits["acme"] = Limits(2, 1_000, 5)
    asked = rooms(world)
    for name in ("one", "two"):
        world.apply(name)
    world.apply("of-another", org="globex")
    world.show()
    why = "As many runs of the day's 2 as are left were made, and are to begin yet"
    assert await asked.of("acme") == Room(0, why, T0 + timedelta(seconds=10))
    body = world.kubernetes.objects[names.RUNS, "default", "one"]
    world.kubernetes.put(names.RUNS, {**body, "status": {"phase": "Running"}})  # the ledger counts it, in earnest
    world.show()
    assert await asked.of("acme") == Room(1)
    world.kubernetes.remove(names.RUNS, "default", "two")
    world.show()
    assert await asked.of("acme") == Room(2)
    assert world.cache.unadmitted("globex") == 1
    world.plans.limits["acme"] = Limits(3, 1_000, 5)
    world.apply("three")
    world.schedule(cronExpression="*/20 * * * *")
    words = "3 of the day's 3 runs are kept for ticks to come; 1 that were made are to begin yet"
    assert await rooms(world).of("acme") == Room(0, words, T0 + timedelta(seconds=10))


@pytest.mark.parametrize("kind", ["Stalled", "Suspended", "elsewhere"])
async def test_ticks_that_will_have_no_run_keep_none_of_it(world: ScheduleOperator, kind: str) -> None:
    world.plans.limits["acme"] = Limits(20, 1_000, 5)
    if kind == "elsewhere":
        world.schedule()
        world.object()["metadata"]["namespace"] = "of-another"
    elif kind == "Stalled":
        world.schedule(pipeline="nothing")
    else:
        world.plans.status["acme"] = "SUSPENDED"
        world.schedule()
        await world.until(T0 + timedelta(hours=1))
        world.plans.status["acme"] = "ACTIVE"
    if kind != "elsewhere":
        await world.turn()
    assert await rooms(world).of("acme") == Room(20)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [("* * * * *", 1440), ("*/5 * * * *", 288), ("*/15 * * * *", 96), ("@daily", 1), ("0 0 30 2 *", 0)],
)
def test_many_ticks_are_estimated_by_their_rate(world: ScheduleOperator, cron: str, expected: int) -> None:
    world.schedule(cronExpression=cron, staggerSeconds=30)
    schedule = parse_schedule(world.object())
    assert abs(ticks_within(schedule, T0, T0 + DAY) - expected) <= expected / 50


async def test_a_backfill_leaves_the_day_its_ticks(world: ScheduleOperator) -> None:
    # Of five runs a day one is the tick's at four; the others are the past's.
    world.plans.limits["acme"] = Limits(5, 1_000, 5)
    world.schedule(backfill={"id": "b", "from": "2026-11-20", "to": "2026-11-20", "concurrency": 10})
    await world.turn()
    assert len(world.runs()) == 4
    for name in world.runs():
        await world.reconcile(world.runs()[name]["metadata"]["uid"])
    for name in world.runs():
        world.end(name)
    await world.until(T0 + timedelta(minutes=6))
    assert len(world.runs()) == 4
    assert (world.of()["backfill"]["state"], world.of()["backfill"]["succeeded"]) == ("Waiting", 4)
    assert world.of()["backfill"]["message"] == "1 of the day's 5 runs are kept for ticks to come"
    await world.until(T0 + timedelta(hours=1), timedelta(minutes=6))
    assert "nightly-20261122t0400z" in world.runs()
    assert len(world.runs()) == 5
    priorities = {body["spec"]["priority"] for body in world.runs().values()}
    assert priorities == {0, -200}
