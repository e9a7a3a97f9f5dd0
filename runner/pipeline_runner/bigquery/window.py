"""The days that a run covers, and the constants that select them in SQL."""

from collections.abc import Mapping
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


@dataclass(frozen=True)
class Window:
    """Whole days in UTC, `first` to `last`, both included."""

    first: date
    last: date

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, object]) -> Self:
        """Read `start_date` and `end_date`, or `date`. Raises ConfigError if neither is there or one isn't a date."""
        if "start_date" in parameters or "end_date" in parameters:
            first, last = _day(parameters, "start_date"), _day(parameters, "end_date")
        elif "date" in parameters:
            first = last = _day(parameters, "date")
        else:
            raise ConfigError("parameters: expected date, or start_date and end_date")
        if last < first:
            raise ConfigError(f"parameters: end_date {last} is before start_date {first}")
        return cls(first, last)

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


def _day(parameters: Mapping[str, object], name: str) -> date:
    value = parameters.get(name)
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        day = None
    if day is None or day.isoformat() != value:
        raise ConfigError(f"parameters.{name}: expected a date as YYYY-MM-DD, got {value!r:.100}")
    return day
