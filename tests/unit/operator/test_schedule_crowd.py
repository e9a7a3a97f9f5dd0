"""Many schedules due at once: their runs are made before anything else, and nobody waits for that for long."""

import asyncio
from datetime import timedelta

from pipeline_operator.queue import WorkQueue
from pipeline_operator.schedules.crowd import TicksFirst
from pipeline_operator.work import work_forever
from support.operator_world import T0
from support.schedule_operator import ScheduleOperator
from support.waiting import eventually

CROWD = 40


async def test_all_runs_are_made_before_the_first_status_is_written() -> None:
    world = ScheduleOperator()
    for number in range(CROWD):
        world.schedule(f"s-{number}")
    await world.turn()
    world.kubernetes.calls.clear()
    await world.until(T0 + timedelta(hours=1), timedelta(hours=1))
    methods = [method for method, _ in world.writes()]
    # The last of them has nobody to let go first.
    assert methods[:CROWD] == ["POST"] * CROWD
    assert methods[CROWD:] == ["PATCH"] * CROWD
    assert {world.of(f"s-{number}")["active"] for number in range(CROWD)} == {1}
    # Nothing was read for it.
    assert len(world.kubernetes.calls) == 2 * CROWD


async def test_a_process_that_starts_at_the_tick_sees_to_the_ticks_first() -> None:
    world = ScheduleOperator()
    for number in range(5):
        world.schedule(f"daily-{number}", cronExpression="@daily")
    world.schedule("hourly")
    await world.turn()
    world.pass_time(3600)
    world.start_operator()
    world.show()
    assert await world.parts.queue.get() == world.object("hourly")["metadata"]["uid"]


class Clock:
    """Seconds that a test lets go by."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_runs_wait_while_ticks_do_but_not_for_ever() -> None:
    clock = Clock()
    schedules, runs = WorkQueue(clock), WorkQueue()
    ticks_first = TicksFirst(schedules, clock)
    done: list[str] = []

    async def reconcile(uid: str) -> None:
        done.append(uid)

    work = asyncio.create_task(work_forever(runs, reconcile, 4, may_begin=ticks_first.wait))
    schedules.add("no tick")
    runs.add("before")

    async def are_done(count: int) -> bool:
        return len(done) == count

    await eventually(lambda: are_done(1))
    schedules.add_first("tick")
    assert ticks_first.presses()
    runs.add("meanwhile")
    for _ in range(5):
        await asyncio.sleep(0.01)
    assert done == ["before"]
    assert await schedules.get() == "tick"
    await eventually(lambda: are_done(2))
    schedules.add_first("another tick")
    runs.add("starves")
    await asyncio.sleep(0.05)
    assert len(done) == 2
    clock.seconds += 4
    await eventually(lambda: are_done(3))
    # The same crowd: nobody waits for it a second time.
    runs.add("next")
    await eventually(lambda: are_done(4))
    assert ticks_first.presses()
    work.cancel()
    await asyncio.wait([work])


async def test_schedules_that_stand_still_are_said_once_the_work_has_begun() -> None:
    world = ScheduleOperator()
    world.schedule()
    world.show()
    world.pass_time(1_000)
    assert world.parts.stand_still_for() == 0.0  # all must be known first, however long that takes
    work = asyncio.create_task(world.parts._work())
    await asyncio.sleep(0)
    assert world.parts.stand_still_for() == 0.0
    work.cancel()
    await asyncio.wait([work])
    world.parts.queue.failed(world.object()["metadata"]["uid"], given_up=True)
    world.pass_time(400)
    assert world.parts.stand_still_for() >= 400.0
