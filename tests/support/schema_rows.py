"""Generated rows of any columns, as they are loaded, and as they are to stand in a table of other columns."""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from pipeline_runner.bigquery.columns import Column
from support.schemas import named


def _unfolded(value: Any) -> Any:
    return value.replace(fold=0)


_SCALARS: Mapping[str, st.SearchStrategy[Any]] = {
    "STRING": st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    "BYTES": st.binary(max_size=6),
    # within what a FLOAT holds, and the stand-in's plain NUMERIC
    "INTEGER": st.integers(-(10**14), 10**14),
    "FLOAT": st.floats(-1e15, 1e15).map(lambda value: value + 0.0),
    "NUMERIC": st.decimals(-(10**20), 10**20, places=9),
    "BOOLEAN": st.booleans(),
    "TIMESTAMP": st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(_unfolded),
    "DATE": st.dates(date(1971, 1, 1), date(2100, 1, 1)),
    "DATETIME": st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(_unfolded),
    "TIME": st.times().map(_unfolded),
    "JSON": st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 9) | st.text('aé"', max_size=3), max_size=2),
}
_CASTS: Mapping[tuple[str, str], Callable[[Any], object]] = {
    ("INTEGER", "NUMERIC"): Decimal,
    ("INTEGER", "FLOAT"): float,
    ("DATE", "DATETIME"): lambda day: datetime.combine(day, time()),
    ("DATE", "TIMESTAMP"): lambda day: datetime.combine(day, time(), UTC),
}


def rows(columns: Sequence[Column]) -> st.SearchStrategy[dict[str, Any]]:
    """One row: a value for each column, None or [] among them."""
    return st.fixed_dictionaries({column.name: _values(column) for column in columns})


def _values(column: Column) -> st.SearchStrategy[Any]:
    single = rows(column.fields) if column.type == "RECORD" else _SCALARS[column.type]
    return st.lists(single, max_size=3) if column.repeated else st.none() | single


def loaded(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as JSON that BigQuery loads."""
    return {name: _loaded(value) for name, value in row.items()}


def _loaded(value: Any) -> Any:
    match value:
        case dict():
            return loaded(value)
        case list():
            return [_loaded(each) for each in value]
        case bytes():
            return base64.b64encode(value).decode()
        case date() | time():
            return value.isoformat()
        case Decimal():
            return str(value)
        case _:
            return value


def stands(row: Mapping[str, Any], origin: Sequence[Column], target: Sequence[Column]) -> dict[str, Any]:
    """A row of the columns `origin` as it is to stand in a table of the columns `target`: None for what is new."""
    origins = named(origin)
    values = {}
    for column in target:
        found = origins.get(column.name.lower())
        if found is None:
            values[column.name] = [] if column.repeated else None
        elif column.repeated:
            values[column.name] = [_stands(each, found, column) for each in row[found.name]]
        else:
            values[column.name] = _stands(row[found.name], found, column)
    return values


def _stands(value: Any, origin: Column, column: Column) -> Any:
    if value is None:
        return None
    if column.type == "RECORD":
        return stands(value, origin.fields, column.fields)
    return _CASTS.get((origin.type, column.type), lambda same: same)(value)


def comparable(row: Mapping[str, Any], columns: Sequence[Column]) -> str:
    """The row's values and their types in a text; an array that is NULL is an empty one, as in BigQuery."""
    values = {name.lower(): value for name, value in row.items()}
    return json.dumps([_comparable(values[column.name.lower()], column) for column in columns])


def _comparable(value: Any, column: Column) -> Any:
    if column.repeated:
        return [_single(each, column) for each in value or []]
    return _single(value, column)


def _single(value: Any, column: Column) -> Any:
    if value is None:
        return None
    if column.type == "RECORD":
        return comparable(value, column.fields)
    if isinstance(value, Decimal):
        return f"Decimal {value:.9f}"
    return f"{type(value).__name__} {value!r}"
