"""Cuts a window into the requests that it takes, and carries out work of that kind a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Span:
    """From `start` to `end` (exclusive), both in UTC, as whole intervals of `width`."""

    start: datetime
    end: datetime
    width: timedelta

    @property
    def intervals(self) -> int:
        """How many intervals there are, each of which the provider has a bucket for."""
        return (self.end - self.start) // self.width

    def __str__(self) -> str:
        return f"{instant(self.start)}..{instant(self.end)}"


def instant(moment: datetime) -> str:
    """A moment in UTC as RFC 3339, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spans(first: date, last: date, width: timedelta, limit: int) -> list[Span]:
    """The days `first` to `last` (included) in UTC, in order, as spans of at most `limit` intervals of `width`.

    They are as few as can be. Raises ValueError for a width that doesn't divide a day, or a limit below 1.
    """
    if width <= timedelta(0) or _DAY % width:
        raise ValueError(f"width: expected a part of a day, got {width}")
    if limit < 1:
        raise ValueError(f"limit: expected at least 1, got {limit}")
    start, end = _midnight(first), _midnight(last) + _DAY
    cut = []
    while start < end:
        # The rest is compared before anything is added: a large limit would go past the last year there is.
        until = end if (end - start) // width <= limit else start + limit * width
        cut.append(Span(start, until, width))
        start = until
    return cut


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


async def in_parallel(work: Sequence[Callable[[], Awaitable[None]]], at_once: int) -> None:
    """Carry out all of `work`, begun in its order, at most `at_once` at a time.

    The first failure cancels the rest and is raised once they have stopped. Of several that failed until then the one
    that comes first in `work` is raised, so that the same trouble is told in the same words.
    """
    if at_once < 1:
        raise ValueError(f"at_once: expected at least 1, got {at_once}")
    failures: dict[int, Exception] = {}
    pending = iter(enumerate(work))
    workers = [asyncio.ensure_future(_worker(pending, failures)) for _ in range(min(at_once, len(work)))]
    try:
        await _until_one_fails(workers, failures)
    finally:
        for worker in workers:
            worker.cancel()
        ended = await asyncio.gather(*workers, return_exceptions=True)
    if failures:
        raise failures[min(failures)]
    # What isn't an Exception, such as work that cancelled itself, must not pass for done.
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome


async def _worker(pending: Iterator[tuple[int, Callable[[], Awaitable[None]]]], failures: dict[int, Exception]) -> None:
    for index, each in pending:
        try:
            await each()
        except Exception as error:
            failures[index] = error
        if failures:
            return


async def _until_one_fails(workers: Sequence[asyncio.Future[None]], failures: dict[int, Exception]) -> None:
    waiting = set(workers)
    while waiting and not failures:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(each.cancelled() or each.exception() for each in done):
            return
