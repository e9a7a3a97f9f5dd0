"""Calls that come while one is under way share the next; each caller gets its own result, or the error of its group."""

import asyncio
from collections.abc import Sequence

import pytest

from pipeline_core.store.grouping import Grouped


class Work:
    """Doubles numbers, once it may; keeps what it was called with."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.began = asyncio.Event()
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        self.began.set()
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [2 * number for number in numbers]


async def test_a_single_call_goes_at_once_and_what_comes_meanwhile_goes_together() -> None:
    work = Work()
    grouped = Grouped(work)
    first = asyncio.create_task(grouped(1))
    await work.began.wait()
    others = [asyncio.create_task(grouped(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    assert work.calls == [[1]]
    work.go.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert work.calls == [[1], [2, 3, 4]]


async def test_a_group_is_bounded() -> None:
    work = Work()
    work.go.set()
    grouped = Grouped(work)
    assert await asyncio.gather(*(grouped(number) for number in range(450))) == [2 * number for number in range(450)]
    assert [len(call) for call in work.calls] == [200, 200, 50]


async def test_an_error_is_that_of_its_group_alone() -> None:
    work = Work()
    grouped = Grouped(work)
    failing = [asyncio.create_task(grouped(number)) for number in (1, 2)]
    await work.began.wait()
    work.error = OSError("away")
    work.go.set()
    assert [type(each) for each in await asyncio.gather(*failing, return_exceptions=True)] == [OSError, OSError]
    work.error = None
    assert await grouped(3) == 6


async def test_a_caller_that_is_cancelled_takes_nothing_from_the_others() -> None:
    work = Work()
    grouped = Grouped(work)
    gone, stays = asyncio.create_task(grouped(1)), asyncio.create_task(grouped(2))
    await work.began.wait()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    work.go.set()
    assert await stays == 4


async def test_without_a_moment_those_who_ask_at_the_same_time_go_together_from_the_first() -> None:
    work = Work()
    work.go.set()
    grouped = Grouped(work, moment_seconds=0)

    async def ask_later(number: int) -> int:
        for _ in range(number):  # turns of the event loop
            await asyncio.sleep(0)
        return await grouped(number)

    assert await asyncio.gather(*(ask_later(number) for number in range(5))) == [0, 2, 4, 6, 8]
    assert work.calls == [[0, 1, 2, 3, 4]]


async def test_without_a_moment_a_group_is_bounded_all_the_same() -> None:
    work = Work()
    work.go.set()
    grouped = Grouped(work, moment_seconds=0)
    assert await asyncio.gather(*(grouped(number) for number in range(450))) == [2 * number for number in range(450)]
    assert [len(call) for call in work.calls] == [200, 200, 50]
