"""The days that a run covers, and the constants that select them in SQL."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Self

from pipeline_runner.errors import ConfigError

# How each type of time column writes the first instant of a day.
_LITERALS = {
    "TIMESTAMP": "TIMESTAMP '{} 00:00:00+00'",
    "DATETIME": "DATETIME '{} 00:00:00'",
    "DATE": "DATE '{}'",
}
TIME_TYPES = tuple(_LITERALS)
# BigQuery has no partitions before it.
_FIRST_DAY = date(1970, 1, 1)


@dataclass(frozen=True)
class Window:
    """Whole days in UTC, `first` to `last`, both included."""

    first: date
    last: date

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, object], rescan_days: int = 1) -> Self:
        """Read `start_date` and `end_date`, or `date`. Raises ConfigError if neither is there or one isn't a date.

        A single day is widened backwards to `rescan_days` days; a range is taken as it is.
        """
        if "start_date" in parameters or "end_date" in parameters:
            first, last = _day(parameters, "start_date"), _day(parameters, "end_date")
        elif "date" in parameters:
            last = _day(parameters, "date")
            first = min(last, max(last - timedelta(days=rescan_days - 1), _FIRST_DAY))
        else:
            raise ConfigError("parameters: expected date, or start_date and end_date")
        if last < first:
            raise ConfigError(f"parameters: end_date {last} is before start_date {first}")
        return cls(first, last)

    @classmethod
    def ranges(cls, days: Iterable[date]) -> tuple[Self, ...]:
        """The fewest windows that have these days and no others, in order."""
        ends: list[tuple[date, date]] = []
        for day in sorted(set(days)):
            if ends and ends[-1][1] + timedelta(days=1) == day:
                ends[-1] = (ends[-1][0], day)
            else:
                ends.append((day, day))
        return tuple(cls(first, last) for first, last in ends)

    def back_to(self, most_days: int) -> Self:
        """The `most_days` days that end with the last one; these days where they are as many or more."""
        first = max(self.last - timedelta(days=most_days - 1), _FIRST_DAY)
        return type(self)(min(first, self.first), self.last)

    def days(self) -> Iterator[date]:
        """Its days, in order."""
        return (self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1))

    def contains(self, column: str, type_: str) -> str:
        """An SQL condition: the column (quoted already, of one of TIME_TYPES) is within these days.

        It compares with constants alone, so that BigQuery prunes partitions.
        """
        start, end = self.literal(self.first, type_), self.literal(self.last + timedelta(days=1), type_)
        return f"{column} >= {start} AND {column} < {end}"

    @staticmethod
    def literal(day: date, type_: str) -> str:
        """The first instant of a day as an SQL constant."""
        return _LITERALS[type_].format(day.isoformat())

    def __str__(self) -> str:
        return self.first.isoformat() if self.first == self.last else f"{self.first}..{self.last}"


def listed(windows: Iterable[Window]) -> str:
    """Windows as people write them: 2026-11-01..2026-11-03, 2026-11-05."""
    return ", ".join(map(str, windows))


def listed_days(days: Iterable[date]) -> str:
    """Days likewise, those that follow one another together."""
    return listed(Window.ranges(days))


def _day(parameters: Mapping[str, object], name: str) -> date:
    value = parameters.get(name)
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:
        raise ConfigError(f"parameters.{name}: expected a date as YYYY-MM-DD, got {value!r:.100}")
    return day
