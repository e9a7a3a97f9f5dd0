"""What each day of a table comes to: its rows, its newest export and the exact sums of its money, by one query.

These tell whether a day has changed. Sums over arrays are taken of the arrays' elements in subqueries of their own,
which join the days and not the rows: a join of rows would multiply the other sums, and a subquery for each row takes
the stand-in ten times as long.
"""
# ruff: noqa: S608 - the identifiers come from schemas and checked configs; there are no other values

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import Self

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, by_name, dotted, leaves
from pipeline_runner.bigquery.scalars import DIGITS
from pipeline_runner.bigquery.warehouse import Row

_EPOCH = date(1970, 1, 1)
# Days since 1970, which costs less to group by than a date that is made of each row's time. (The stand-in rounds
# UNIX_SECONDS: the last half second of a day would be the next day's.)
_DAY_NUMBERS = {
    "TIMESTAMP": "DIV(UNIX_MICROS({}), 86400000000)",
    "DATETIME": "UNIX_DATE(DATE({}))",
    "DATE": "UNIX_DATE({})",
}

_Path = tuple[Column, ...]


@dataclass(frozen=True)
class Figures:
    """One day: its rows, the newest `export_time` where there is such a column, and the sums of its money in order."""

    rows: int
    newest: datetime | None
    sums: tuple[Decimal, ...]

    @classmethod
    def empty(cls, money: tuple[str, ...]) -> Self:
        """A day without rows."""
        return cls(0, None, (Decimal(0),) * len(money))


def statement(columns: tuple[Column, ...], time: Column, money: tuple[str, ...], origin: str) -> str:
    """SELECT of a row for each day that has rows: `day` (a number), `row_count`, `newest`, and `sum_` numbered.

    `origin` is what follows FROM, with the alias s for its rows; `money` are leaves of `columns`, dotted, FLOAT or
    exact. A FLOAT counts as its decimal; one that is no amount (NaN, infinite, too large) as nothing.
    """
    found = {dotted(path).lower(): path for path in leaves(columns)}
    paths = [(number, found[name.lower()]) for number, name in enumerate(money)]
    values = [f"{number_of('s', time)} AS day", f"{_newest(columns)} AS newest"]
    aggregates = ["s.day", "COUNT(*) AS row_count", "MAX(s.newest) AS newest"]
    selected, joined = ["days.*"], []
    for number, path in paths:
        array = sql.outer_array(path)
        values.append(f"{sql.leaf_value('s', array or path)} AS value_{number}")
        if array:
            selected.append(f"array_{number}.sum_{number}")
            sums = _of_array(number, path[len(array) :], path[-1].type)
            joined.append(f"\nLEFT JOIN ({sums}) AS array_{number} ON array_{number}.day = days.day")
        else:
            aggregates.append(_sum(number, path[-1].type, f"s.value_{number}"))
    # Named once: the stand-in mistakes the alias of a view that a statement names twice.
    rows = f"WITH found AS (SELECT {', '.join(values)} FROM {origin})"
    days = f"(SELECT {', '.join(aggregates)} FROM found AS s GROUP BY s.day) AS days"
    return f"{rows}\nSELECT {', '.join(selected)} FROM {days}{''.join(joined)}"


def read(rows: Iterable[Row], money: tuple[str, ...]) -> dict[date, Figures]:
    """The figures of the days that have rows, from the rows of `statement`."""
    return {
        day_of(row["day"]): Figures(
            row["row_count"],
            row["newest"],
            tuple(Decimal(row[f"sum_{number}"] or 0) for number in range(len(money))),
        )
        for row in rows
        if row["day"] is not None
    }


def undated(rows: Iterable[Row]) -> int:
    """How many rows belong to no day, as their time is NULL, from the rows of `statement`."""
    return sum(row["row_count"] for row in rows if row["day"] is None)


def number_of(alias: str, time: Column) -> str:
    """The number of a row's day, as SQL: days since 1970, in UTC."""
    return _DAY_NUMBERS[time.type].format(f"{alias}.{sql.quoted(time.name)}")


def day_of(number: int) -> date:
    """The day of a number."""
    return _EPOCH + timedelta(days=number)


def total(days: Mapping[date, Figures], money: tuple[str, ...]) -> Figures:
    """What all days come to."""
    empty = Figures.empty(money)
    return Figures(
        sum(each.rows for each in days.values()),
        max((each.newest for each in days.values() if each.newest is not None), default=None),
        tuple(
            reduce(DIGITS.add, (each.sums[number] for each in days.values()), zero)
            for number, zero in enumerate(empty.sums)
        ),
    )


def _newest(columns: tuple[Column, ...]) -> str:
    column = by_name(columns).get("export_time")
    if column is None or column.repeated or column.type != "TIMESTAMP":
        return "CAST(NULL AS TIMESTAMP)"
    return f"s.{sql.quoted(column.name)}"


def _of_array(number: int, path: _Path, type_: str) -> str:
    """Days, and the sum of one leaf within arrays: these are unnested one by one, from the outermost inwards.

    `path` leads from an element of the outermost array to the leaf; it is empty where the elements are what is summed.
    """
    # Only what is needed: the other columns would be carried along.
    unnested = [f"(SELECT f.day, f.value_{number} AS items FROM found AS f) AS s", "UNNEST(s.items) AS e0"]
    for depth, inner in enumerate(_inner_arrays(path), start=1):
        unnested.append(f"UNNEST({sql.leaf_value(f'e{depth - 1}', inner)}) AS e{depth}")
        path = path[len(inner) :]
    leaf = sql.leaf_value(f"e{len(unnested) - 2}", path)
    return f"SELECT s.day, {_sum(number, type_, leaf)} FROM {', '.join(unnested)} GROUP BY s.day"


def _inner_arrays(path: _Path) -> Iterator[_Path]:
    while array := sql.outer_array(path):
        yield array
        path = path[len(array) :]


def _sum(number: int, type_: str, value: str) -> str:
    if type_ == "INTEGER":
        value = sql.addend(value)
    if type_ == "FLOAT":
        value = f"IF(ABS({value}) < {sql.NUMERIC_LIMIT}, {sql.decimal(value)}, NULL)"
    return f"SUM({value}) AS sum_{number}"
