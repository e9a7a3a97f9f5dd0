"""Checks staged rows against what a config's `checks` expect of them, before any of them is published."""
# ruff: noqa: S608 - the columns are those of the table, compared by name

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction

from pipeline_core.catalog.checks import CountRange, SumRange, TableChecks
from pipeline_core.wording import FieldPath
from pipeline_runner.bigquery import daily, sql
from pipeline_runner.bigquery.columns import Column, by_name
from pipeline_runner.bigquery.warehouse import Row, Warehouse
from pipeline_runner.config_errors import FieldsError

_SUMMED = ("INTEGER", "NUMERIC", "BIGNUMERIC")
# What a look at each day of a long range tells at the most.
_MOST_TOLD = 10


def check_columns(checks: TableChecks, columns: tuple[Column, ...], where: FieldPath = ("checks",)) -> None:
    """Refuse checks of columns that the table hasn't, or of sums that aren't exact; `where` is theirs in the config.

    Raises FieldsError with all of them.
    """
    if found := list(_column_problems(checks, columns)):
        raise FieldsError(((*where, check), message) for check, message in found)


def _column_problems(checks: TableChecks, columns: tuple[Column, ...]) -> Iterator[tuple[str, str]]:
    known = by_name(columns)
    asked = {"not_null": checks.not_null or (), "not_null_proportion": checks.not_null_proportion or ()}
    for check, name in ((check, name) for check, names in asked.items() for name in names):
        column = known.get(name.lower())
        if column is None:
            yield check, f"{name} is no column of the table; expected one of {_names(columns)}"
        elif column.repeated:
            # https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#array_nulls
            yield (
                check,
                f"{name} is {column.kind}: a stored array is empty, but never NULL, so that it would pass always",
            )
    for name in checks.sum or {}:
        column = known.get(name.lower())
        if column is None or column.repeated or column.type not in _SUMMED:
            found = "there is none" if column is None else f"it is {column.kind}"
            yield "sum", f"{name} should be a column of type {', '.join(_SUMMED)}; {found}"


async def violations(warehouse: Warehouse, step: str, staging: str, checks: TableChecks, *, location: str,
                     quarantined: int = 0, where: str = "checks") -> list[str]:  # fmt: skip
    """What the staged rows violate, each with its bounds and what was found; one query, `step`, over the table."""
    row: Row = {}
    if _asks(checks):
        what = "checking the staged rows"
        (row,) = await warehouse.query(step, statement(staging, checks), location=location, what=what)
    return [f"{where}.{each}" for each in _violated(checks, row, quarantined)]


async def daily_violations(
    warehouse: Warehouse, step: str, staging: str, checks: TableChecks, days: Iterable[date], time: Column,
    *, location: str, where: str = "checks",
) -> list[str]:  # fmt: skip
    """The same for each day by itself, those without rows included; `time` is the staged column that tells the day."""
    if not _asks(checks):
        return []
    what = "checking the staged rows, day by day"
    rows = await warehouse.query(step, statement(staging, checks, time), location=location, what=what)
    found = {daily.day_of(row["day"]): row for row in rows}
    nothing: Row = defaultdict(int)
    told = [f"{where}.{each} on {day}" for day in days for each in _violated(checks, found.get(day, nothing), 0)]
    return told if len(told) <= _MOST_TOLD else [*told[:_MOST_TOLD], f"and {len(told) - _MOST_TOLD} more"]


def statement(staging: str, checks: TableChecks, time: Column | None = None) -> str:
    """SELECT of one row: `row_count`, and numbered the `nulls_`, `values_` and `sum_` of the columns.

    With the column of a row's `time`, a row for each `day`.
    """
    values = ["COUNT(*) AS row_count"]
    for number, name in enumerate(checks.not_null or ()):
        values.append(f"COUNTIF({sql.quoted(name)} IS NULL) AS nulls_{number}")
    for number, name in enumerate(checks.not_null_proportion or {}):
        values.append(f"COUNTIF({sql.quoted(name)} IS NOT NULL) AS values_{number}")
    for number, name in enumerate(checks.sum or {}):
        values.append(f"SUM({sql.quoted(name)}) AS sum_{number}")
    if time is None:
        return f"SELECT {', '.join(values)} FROM {sql.quoted(staging)}"
    return f"SELECT {daily.number_of('s', time)} AS day, {', '.join(values)} FROM {sql.quoted(staging)} AS s GROUP BY 1"


def _asks(checks: TableChecks) -> bool:
    """Whether the rows have to be looked at."""
    return bool(checks.row_count or checks.not_null or checks.not_null_proportion or checks.sum)


def _violated(checks: TableChecks, row: Mapping[str, object], quarantined: int) -> Iterator[str]:
    if checks.row_count and not _within(Decimal(str(row["row_count"])), checks.row_count):
        yield f"row_count: expected {_told(checks.row_count)}, found {row['row_count']}"
    for number, name in enumerate(checks.not_null or ()):
        if found := row[f"nulls_{number}"]:
            yield f"not_null: expected no NULL in {name}, found {found} in {row['row_count']} rows"
    for number, (name, share) in enumerate((checks.not_null_proportion or {}).items()):
        values, rows = int(str(row[f"values_{number}"])), int(str(row["row_count"]))
        # Fractions are exact; of no rows any share has a value.
        if values < Fraction(share.min) * rows:
            yield f"not_null_proportion.{name}: expected at least {share.min}, found values in {values} of {rows} rows"
    for number, (name, bounds) in enumerate((checks.sum or {}).items()):
        total = Decimal(str(row[f"sum_{number}"] or 0))
        if not _within(total, bounds):
            yield f"sum.{name}: expected {_told(bounds)}, found {total.normalize():f}"
    if quarantined > checks.max_quarantined:
        yield f"quarantined: expected at most {checks.max_quarantined} rows that don't fit, found {quarantined}"


def _within(value: Decimal, bounds: CountRange | SumRange) -> bool:
    return (bounds.min is None or value >= bounds.min) and (bounds.max is None or value <= bounds.max)


def _told(bounds: CountRange | SumRange) -> str:
    if bounds.min is None:
        return f"at most {bounds.max}"
    return f"at least {bounds.min}" if bounds.max is None else f"{bounds.min} to {bounds.max}"


def _names(columns: tuple[Column, ...]) -> str:
    return ", ".join(column.name for column in columns)
