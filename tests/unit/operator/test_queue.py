"""The work queue: de-duplicated, delayed, one worker a key, and nothing that happens meanwhile is missed."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_operator.queue import WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def soon(queue: WorkQueue) -> str | None:
    """The key that is due now, or None."""
    task = asyncio.create_task(queue.get())
    for _ in range(3):
        await asyncio.sleep(0)
    if task.done():
        return task.result()
    task.cancel()
    return None


async def test_a_key_added_twice_is_worked_on_once() -> None:
    queue = WorkQueue(Clock())
    queue.add("a")
    queue.add("a")
    assert await soon(queue) == "a"
    queue.done("a")
    assert await soon(queue) is None


async def test_a_key_is_never_with_two_workers_and_news_during_work_is_kept() -> None:
    queue = WorkQueue(Clock())
    queue.add("a")
    assert await soon(queue) == "a"
    queue.add("a")
    assert await soon(queue) is None
    queue.done("a")
    assert await soon(queue) == "a"


async def test_the_earlier_of_two_times_wins() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.add("a", 100)
    queue.add("a", 5)
    queue.add("a", 50)
    clock.now = 5
    assert await soon(queue) == "a"
    queue.done("a")
    clock.now = 200
    assert await soon(queue) is None


async def test_news_wakes_a_key_that_waits_for_later() -> None:
    queue = WorkQueue(Clock())
    queue.add("a", 3600)
    queue.add("a")
    assert await soon(queue) == "a"


async def test_a_waiting_worker_is_woken_by_the_clock() -> None:
    queue = WorkQueue()
    queue.add("a", 0.05)
    assert await asyncio.wait_for(queue.get(), 5) == "a"


async def test_failures_back_off_and_news_does_not_cut_that_short() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    waits = []
    queue.add("a")
    for _ in range(5):
        assert await soon(queue) == "a"
        queue.add("a")
        waits.append(queue.failed("a"))
        assert await soon(queue) is None
        clock.now += waits[-1]
    assert waits[-1] > 4 * waits[0]
    assert await soon(queue) == "a"
    queue.done("a")
    queue.add("a")
    assert await soon(queue) == "a"
    assert queue.failed("a") == pytest.approx(0.2, rel=0.21)


async def test_the_age_of_the_most_overdue_key_is_told() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    assert queue.oldest_age() == 0
    queue.add("a", 10)
    queue.add("b", 20)
    clock.now = 40
    assert queue.oldest_age() == 30


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=30))
def test_every_added_key_comes_out_once_and_in_the_order_of_its_time(adds: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        clock = Clock()
        queue = WorkQueue(clock)
        due: dict[str, int] = {}
        for key, delay in adds:
            queue.add(key, delay)
            due[key] = min(delay, due.get(key, delay))
        clock.now = 10
        out = []
        while (key := await soon(queue)) is not None:
            out.append(key)
        assert sorted(out) == sorted(due)
        assert [due[key] for key in out] == sorted(due.values())

    asyncio.run(scenario())


async def test_a_cancellation_that_comes_together_with_news_is_not_swallowed() -> None:
    queue = WorkQueue(Clock())
    queue.add("later", 60)

    async def work() -> None:
        while True:
            queue.done(await queue.get())

    task = asyncio.create_task(work())
    for _ in range(3):
        await asyncio.sleep(0)
    queue.add("a")
    await asyncio.sleep(0)  # the news is on its way to the waiting worker
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1)
    assert done
    assert task.cancelled()


async def test_a_key_that_others_wait_for_goes_before_all_that_is_due() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    for key in "abc":
        queue.add(key)
    queue.add("later", 60)
    clock.now = 5
    for key in ("later", "new", "b", "later"):
        queue.add_first(key)
    assert queue.depth() == 5
    assert queue.oldest_age() == 5
    out = [await soon(queue) for _ in range(6)]
    assert out == ["later", "new", "b", "a", "c", None]
    clock.now = 100
    for key in ("later", "new", "b", "a", "c"):
        queue.done(key)
    assert await soon(queue) is None


async def test_also_one_that_is_being_worked_on_or_waits_for_later() -> None:
    queue = WorkQueue(Clock())
    queue.add("a")
    assert await soon(queue) == "a"
    queue.add("b")
    queue.add_first("a")
    queue.add("a", 10)
    assert await soon(queue) == "b"
    queue.add("c")
    queue.done("a", 30)
    assert await soon(queue) == "a"
    assert await soon(queue) == "c"


async def test_it_wakes_a_waiting_worker_and_does_not_cut_a_backoff_short_that_begins_later() -> None:
    queue = WorkQueue()
    task = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_first("a")
    assert await asyncio.wait_for(task, 5) == "a"
    queue.add_first("a")
    queue.failed("a")
    assert await soon(queue) is None


async def test_what_has_waited_for_long_has_its_turn_among_those_that_go_first() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.add("status")
    clock.now += 1.9
    for number in range(30):
        queue.add_first(f"tick-{number}")
    served = [await soon(queue) for _ in range(10)]
    assert "status" not in served
    clock.now += 0.2
    assert await soon(queue) == "status"
    assert await soon(queue) == "tick-10"
