"""Cuts a span of time into buckets, and sums lines of usage into the results of each."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext

from pipeline_local.simulators.seeds import Line, Value

WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS = 60  # enough for the exact sum of anything that is made here

LinesOf = Callable[[date], Sequence[Line]]


@dataclass(frozen=True)
class Grouping:
    """How lines are put together: all dimensions of a table, those that are told apart, and what is summed."""

    dimensions: tuple[str, ...]
    by: frozenset[str]
    measures: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """A group of a bucket: each dimension, null where it wasn't grouped by, and the exact sums."""

    dimensions: Mapping[str, Value]
    measures: Mapping[str, Decimal]


def floor(moment: datetime, width: timedelta) -> datetime:
    """The start of the bucket that a moment lies in."""
    return moment - (moment - _EPOCH) % width


def ceiling(moment: datetime, width: timedelta) -> datetime:
    """The end of the last bucket that has anything before this moment."""
    return moment + (_EPOCH - moment) % width


def count(start: datetime, end: datetime, width: timedelta) -> int:
    """The number of buckets from `start` on, which is aligned, that begin before `end`."""
    return max(0, -((start - end) // width))


def results(lines_of: LinesOf, start: datetime, width: timedelta, grouping: Grouping) -> list[Result]:
    """What a bucket holds: nothing, where nothing was used."""
    first = start.hour * 60 + start.minute
    last = first + width // timedelta(minutes=1)
    return grouped((line for line in lines_of(start.date()) if first <= line.minute < last), grouping)


def grouped(lines: Iterable[Line], grouping: Grouping) -> list[Result]:
    """The lines summed by the dimensions that are told apart, in the order in which the groups came."""
    told_apart = [name if name in grouping.by else None for name in grouping.dimensions]
    sums: dict[tuple[Value, ...], dict[str, Decimal]] = {}
    with localcontext(prec=_DIGITS):
        for line in lines:
            key = tuple([None if name is None else line.dimensions[name] for name in told_apart])
            known = sums.get(key)
            if known is None:
                sums[key] = {name: line.measures[name] for name in grouping.measures}
                continue
            for name in grouping.measures:
                known[name] += line.measures[name]
    return [Result(dict(zip(grouping.dimensions, key, strict=True)), sum_) for key, sum_ in sums.items()]
