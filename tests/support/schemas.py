"""Generated schemas: tables, and columns that are wanted of them, which fit or don't."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from pipeline_runner.bigquery.columns import Column

TYPES = ("STRING", "BYTES", "INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC", "BOOLEAN", "TIMESTAMP", "DATE", "DATETIME",
         "TIME", "JSON")  # fmt: skip
# What a table's type, and the wanted one, become together. All else is refused.
JOINED = {
    ("INTEGER", "NUMERIC"): "NUMERIC",
    ("INTEGER", "BIGNUMERIC"): "BIGNUMERIC",
    ("NUMERIC", "BIGNUMERIC"): "BIGNUMERIC",
    ("NUMERIC", "INTEGER"): "NUMERIC",
    ("BIGNUMERIC", "INTEGER"): "BIGNUMERIC",
    ("BIGNUMERIC", "NUMERIC"): "BIGNUMERIC",
    ("FLOAT", "INTEGER"): "FLOAT",
    ("DATETIME", "DATE"): "DATETIME",
    ("TIMESTAMP", "DATE"): "TIMESTAMP",
} | {(each, each): each for each in TYPES}
# What a field may have behind its type: as the REST interface writes it, and in SQL.
PARAMETERS: dict[str, tuple[dict[str, str], str]] = {
    "STRING": ({"maxLength": "7"}, "(7)"),
    "BYTES": ({"maxLength": "9"}, "(9)"),
    "NUMERIC": ({"precision": "20", "scale": "4"}, "(20, 4)"),
    "BIGNUMERIC": ({"precision": "40"}, "(40)"),
}
_NAMES = ("a", "b", "key", "total_cost", "run")
_DESCRIPTIONS = st.sampled_from(["", "", "what it is"])


def named(columns: Iterable[Column]) -> dict[str, Column]:
    """Columns by name; names ignore case."""
    return {column.name.lower(): column for column in columns}


@st.composite
def columns(
    draw: st.DrawFn,
    types: tuple[str, ...] = TYPES,
    *,
    depth: int = 2,
    least: int = 0,
    without: frozenset[str] = frozenset(),
) -> tuple[Column, ...]:
    """Columns of one level and of those below, `depth` of them; no names that differ in case alone."""
    free = [each for each in _NAMES if each not in without]
    taken = draw(st.lists(st.sampled_from(free), unique=True, min_size=least, max_size=3)) if free else []
    return tuple([draw(_column(name, types, depth)) for name in taken])


@st.composite
def _column(draw: st.DrawFn, name: str, types: tuple[str, ...], depth: int) -> Column:
    type_ = draw(st.sampled_from((*types, *("RECORD",) * (len(types) // 2 if depth else 0))))
    inner = draw(columns(types, depth=depth - 1, least=1)) if type_ == "RECORD" else ()
    described = "" if type_ == "RECORD" else draw(_DESCRIPTIONS)
    return Column(draw(_cased(name)), type_, draw(st.booleans()), inner, described)


def _cased(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from((name, name, name.upper(), name.title()))


@st.composite
def tables_and_wanted(
    draw: st.DrawFn,
    types: tuple[str, ...] = TYPES,
    *,
    existing: tuple[Column, ...] | None = None,
    fitting: bool = True,
) -> tuple[tuple[Column, ...], tuple[Column, ...]]:
    """A table's columns, and those wanted: some of its own (where `fitting`, of types that it takes), and others."""
    if existing is None:
        existing = draw(columns(types, least=1))
    return existing, draw(_wanted(existing, types, fitting, 2))


@st.composite
def _wanted(
    draw: st.DrawFn, existing: tuple[Column, ...], types: tuple[str, ...], fitting: bool, depth: int
) -> tuple[Column, ...]:
    kept = [draw(_again(each, types, fitting, depth)) for each in existing if draw(st.integers(0, 4))]
    least = 0 if kept else 1
    new = draw(columns(types, depth=depth, least=least, without=frozenset(named(existing)) if kept else frozenset()))
    if not kept:
        # all of the table's columns have gone; a new one doesn't take the place of one of them with another type
        new = tuple(each for each in new if each.name.lower() not in named(existing)) or existing
    return tuple(draw(st.permutations([*kept, *new])))


@st.composite
def _again(draw: st.DrawFn, column: Column, types: tuple[str, ...], fitting: bool, depth: int) -> Column:
    """A column as another table may have it."""
    if not fitting and not draw(st.integers(0, 3)):
        return draw(_column(column.name.lower(), types, depth))
    again = replace(column, name=draw(_cased(column.name.lower())), description="")
    if column.type == "RECORD":
        return replace(again, fields=draw(_wanted(column.fields, types, fitting, max(depth - 1, 0))))
    takes = [wanted for has, wanted in JOINED if has == column.type and wanted in types]
    return replace(again, type=draw(st.sampled_from(takes)))


@st.composite
def as_fields(draw: st.DrawFn, existing: tuple[Column, ...]) -> list[dict[str, Any]]:
    """The columns as the REST interface writes them, with what a Column doesn't know: REQUIRED, parameters, tags."""
    written = []
    for column in existing:
        field = column.to_api()
        if not column.repeated and draw(st.booleans()):
            field["mode"] = "REQUIRED"
        if column.type in PARAMETERS and draw(st.booleans()):
            field |= PARAMETERS[column.type][0]
        if column.fields:
            field["fields"] = draw(as_fields(column.fields))
        elif draw(st.booleans()):
            field["policyTags"] = {"names": ["projects/p/locations/us/taxonomies/1/policyTags/2"]}
        written.append(field)
    return written
