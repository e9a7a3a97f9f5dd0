"""A window is cut into as few spans as can be, and work of that kind is done a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline_runner.api.spans import Span, in_parallel, instant, spans
from pipeline_runner.errors import ConfigError, DataError

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def test_a_month_of_days_is_one_span_of_31_and_a_day_more_is_two() -> None:
    whole = spans(date(2026, 3, 1), date(2026, 3, 31), DAY, 31)
    assert whole == [Span(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC), DAY)]
    assert [each.intervals for each in spans(date(2026, 3, 1), date(2026, 4, 1), DAY, 31)] == [31, 1]
    assert str(whole[0]) == "2026-03-01T00:00:00Z..2026-04-01T00:00:00Z"


def test_the_last_day_there_is_doesnt_overflow() -> None:
    assert len(spans(date(9999, 12, 29), date(9999, 12, 30), HOUR, 168)) == 1


@pytest.mark.parametrize("width", [timedelta(0), -HOUR, timedelta(hours=7), 2 * DAY])
def test_a_width_that_doesnt_divide_a_day_is_refused(width: timedelta) -> None:
    with pytest.raises(ValueError, match="width"):
        spans(date(2026, 3, 1), date(2026, 3, 1), width, 31)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        spans(date(2026, 3, 1), date(2026, 3, 1), DAY, 0)
    with pytest.raises(ValueError, match="at_once"):
        asyncio.run(in_parallel([], 0))


def test_instants_are_written_in_utc() -> None:
    assert instant(datetime.fromisoformat("2026-03-01T02:00:00+02:00")) == "2026-03-01T00:00:00Z"


class Work:
    """Pieces of work that begin, wait to be let go, and end as they are told."""

    def __init__(self, count: int, failures: dict[int, BaseException] | None = None) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.most = 0
        self.free = [asyncio.Event() for _ in range(count)]
        self.failures = failures or {}

    def all(self) -> list[Callable[[], Awaitable[None]]]:
        return [lambda index=index: self.one(index) for index in range(len(self.free))]  # type: ignore[misc]

    async def one(self, index: int) -> None:
        self.begun.append(index)
        self.most = max(self.most, len(self.begun) - len(self.ended) - len(self.cancelled))
        try:
            await self.free[index].wait()
        except asyncio.CancelledError:
            self.cancelled.append(index)
            raise
        self.ended.append(index)
        if index in self.failures:
            raise self.failures[index]


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it waits for a few turns of the loop
            await asyncio.sleep(0)


async def test_all_of_it_is_done_in_order_and_a_few_at_a_time() -> None:
    work = Work(7)
    running = asyncio.ensure_future(in_parallel(work.all(), 3))
    await settled(lambda: len(work.begun) == 3)
    for event in work.free:
        event.set()
    await running
    assert work.begun == list(range(7))
    assert sorted(work.ended) == list(range(7))
    assert work.most == 3


async def test_the_first_failure_stops_the_rest_before_it_is_raised() -> None:
    work = Work(7, {1: DataError("bad")})
    running = asyncio.ensure_future(in_parallel(work.all(), 3))
    await settled(lambda: len(work.begun) == 3)
    work.free[1].set()
    with pytest.raises(DataError, match="bad"):
        await running
    assert work.begun == [0, 1, 2]
    assert sorted(work.cancelled) == [0, 2]


@pytest.mark.parametrize("order", [(0, 2), (2, 0)])
async def test_of_failures_at_the_same_time_the_first_in_order_is_raised(order: tuple[int, int]) -> None:
    work = Work(4, {0: ConfigError("zero"), 2: DataError("two")})
    running = asyncio.ensure_future(in_parallel(work.all(), 4))
    await settled(lambda: len(work.begun) == 4)
    for index in order:
        work.free[index].set()
    with pytest.raises(ConfigError, match="zero"):
        await running


async def test_cancelling_it_cancels_the_work() -> None:
    work = Work(4)
    running = asyncio.ensure_future(in_parallel(work.all(), 2))
    await settled(lambda: len(work.begun) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert sorted(work.cancelled) == [0, 1]
    assert work.begun == [0, 1]


async def test_work_that_cancels_itself_doesnt_pass_for_done() -> None:
    work = Work(2, {0: asyncio.CancelledError()})
    running = asyncio.ensure_future(in_parallel(work.all(), 2))
    await settled(lambda: len(work.begun) == 2)
    work.free[0].set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_nothing_to_do_is_done() -> None:
    await in_parallel([], 3)
