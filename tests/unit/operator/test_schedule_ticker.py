"""The ticker wakes whom it was told to, when the wall clock says so, whatever happens to that clock."""

import asyncio
from datetime import UTC, datetime, timedelta

from pipeline_operator.schedules.ticker import Ticker
from support.waiting import eventually

T0 = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Clock:
    """A wall clock, whom it woke, and how often it was set back."""

    def __init__(self) -> None:
        self.now = T0
        self.woken: list[str] = []
        self.steps_back = 0
        self.ticker = Ticker(lambda: self.now, self.woken.append, self.set_back)

    def set_back(self) -> None:
        self.steps_back += 1

    def tick(self, seconds: float = 0.0) -> list[str]:
        """Who is woken when so much time has passed."""
        self.now += timedelta(seconds=seconds)
        self.woken.clear()
        self.ticker.tick()
        return list(self.woken)


def test_in_their_order_and_once() -> None:
    clock = Clock()
    for uid, seconds in (("c", 3), ("a", 1), ("b", 2)):
        clock.ticker.set(uid, T0 + seconds * SECOND)
    assert [clock.tick(1) for _ in range(5)] == [["a"], ["b"], ["c"], [], []]


def test_the_last_time_that_was_said_counts() -> None:
    clock = Clock()
    clock.ticker.set("a", T0 + SECOND)
    clock.ticker.set("a", T0 + 2 * SECOND)
    clock.ticker.set("b", T0 + 2 * SECOND)
    clock.ticker.set("b", None)
    assert [clock.tick(1), clock.tick(1), clock.tick(9)] == [[], ["a"], []]


def test_it_never_sleeps_for_longer_than_a_second() -> None:
    clock = Clock()
    assert clock.ticker.tick() == 1.0
    clock.ticker.set("a", T0 + 600 * SECOND)
    assert clock.ticker.tick() == 1.0
    clock.now = T0 + 599.75 * SECOND
    assert clock.ticker.tick() == 0.25


def test_a_step_forward_wakes_all_that_it_passes_and_one_back_is_told() -> None:
    clock = Clock()
    for hour in range(3):
        clock.ticker.set(f"at-{hour}", T0 + timedelta(hours=hour))
    assert clock.tick(7200) == ["at-0", "at-1", "at-2"]
    clock.tick(-30)
    assert clock.steps_back == 0
    clock.tick(-3600)
    assert clock.steps_back == 1
    clock.tick(1)
    assert clock.steps_back == 1


def test_what_was_overtaken_takes_no_memory() -> None:
    clock = Clock()
    for number in range(10_000):
        clock.ticker.set("a", T0 + (10 + number) * SECOND)
    assert len(clock.ticker._heap) < 100
    assert clock.tick(10_008) == []
    assert clock.tick(1) == ["a"]


async def test_one_that_comes_before_all_others_is_waited_for_anew() -> None:
    woken: list[str] = []
    ticker = Ticker(lambda: datetime.now(UTC), woken.append)
    task = asyncio.create_task(ticker.tick_forever())
    await asyncio.sleep(0)
    ticker.set("late", datetime.now(UTC) + timedelta(hours=1))
    ticker.set("soon", datetime.now(UTC) + timedelta(milliseconds=20))

    async def is_woken() -> bool:
        return woken == ["soon"]

    await eventually(is_woken, seconds=0.9)
    task.cancel()
    await asyncio.wait([task])
