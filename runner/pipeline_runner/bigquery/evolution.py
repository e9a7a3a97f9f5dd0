"""Grows tables that exist: adds columns, widens types, and says which row stands in the way where that can't be.

What is allowed of types is in columns.WIDENED, columns.CAST and columns.CHECKED.
"""
# ruff: noqa: S608 - all names in the statements come from schemas or have been checked by pattern

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import CAST, Column, ColumnConflictError, by_name, merge, of_table, parameters
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.rounding import refuse_rounding
from pipeline_runner.bigquery.warehouse import WRITE_RIGHT, Warehouse
from pipeline_runner.errors import DataError

_SHOWN = 300
# The stand-in would keep three decimals of a plain NUMERIC in a definition. To BigQuery this has the same digits, but
# counts as the narrower type, so that it may refuse to change a NUMERIC to it.
_SPELT_FOR_STAND_IN = {"NUMERIC": "NUMERIC(38, 9)"}


class Growth:
    """Grows the tables of one dataset, which is in `location`."""

    def __init__(self, warehouse: Warehouse, location: str) -> None:
        self._warehouse = warehouse
        self._location = location

    async def grow(self, step: str, table: bigquery.Table, wanted: tuple[Column, ...]) -> None:
        """Add what `table`, as it was seen, lacks of `wanted`, and widen what is too narrow for it.

        `wanted` has the types that the values are made for, so that a FLOAT column takes no INTEGER here: nothing would
        check it (columns.CHECKED). Columns that the table has and `wanted` doesn't stay. No error if another run was
        quicker. Raises ColumnConflictError where another run has given a column a type that doesn't take what is
        wanted.
        """
        name = str(table.reference)
        existing = of_table(table)
        grown = merge(existing, wanted, cast=CAST)
        if grown == existing:
            return
        # One job; a statement for each, since the stand-in takes no more than one column in a statement.
        spelt = _SPELT_FOR_STAND_IN if self._warehouse.is_stand_in else {}
        changes = _changes(existing, grown, table.to_api_repr()["schema"]["fields"], spelt)
        if script := "\n".join(f"ALTER TABLE {sql.quoted(name)} {each};" for each in changes):
            told = ", ".join(_changed(existing, grown))
            # crash here: a column that is there isn't added again, and one that is wide enough stays as it is
            await self._query(step, script, f"changing {told} of {name}")
        fresh = await self._warehouse.table(name, what="target table", right=WRITE_RIGHT) or table
        merge(of_table(fresh), wanted, cast=CAST)  # raises where another run has given a column another type
        if any(_gained(old, new) for old, new in zip(existing, grown, strict=False)):
            # A field within a record can't be added by SQL. The schema is sent whole, so it has to be today's.
            await self._warehouse.update_schema(fresh, wanted)

    async def _query(self, step: str, script: str, what: str) -> None:
        await self._warehouse.query(step, script, location=self._location, what=what, right=WRITE_RIGHT)


async def fitted(
    warehouse: Warehouse, existing: bigquery.Table | None, wanted: tuple[Column, ...], origin: str, location: str
) -> tuple[Column, ...]:
    """The columns that a table is to have so that rows of `wanted` fit, as `merge` says it.

    `origin` is where the rows are: what follows FROM, with the alias s. Raises DataError, with a row, where they can't,
    and ConfigError for a column that would round them.
    """
    if existing is not None:
        refuse_rounding(existing, wanted)
    try:
        return merge(of_table(existing) if existing else (), wanted)
    except ColumnConflictError as conflict:
        raise await with_row(warehouse, conflict, origin, location) from conflict


async def with_row(warehouse: Warehouse, conflict: ColumnConflictError, origin: str, location: str) -> DataError:
    """The conflict, told with a row that has a value in the column. `origin` follows FROM, with the alias s.

    Without such a row it is told as it is.
    """
    # what lies within a record may lie within an array, and can't be asked for by its path
    column = sql.quoted(conflict.column.partition(".")[0])
    value = f"TO_JSON_STRING({column}) AS conflict_value, TO_JSON_STRING(conflict_row) AS conflict_row"
    statement = f"SELECT {value} FROM (SELECT s.* FROM {origin}) AS conflict_row WHERE {column} IS NOT NULL LIMIT 1"
    rows = await warehouse.query("conflict", statement, location=location, what="looking for a row that doesn't fit")
    if not rows:
        return conflict
    value, row = (shortened(str(rows[0][name])) for name in ("conflict_value", "conflict_row"))
    return DataError(f"{conflict}; such as {value} in the row {row}")


def shortened(text: str) -> str:
    """As much of a row's JSON as an error can tell."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …"


def _changes(
    existing: tuple[Column, ...],
    grown: tuple[Column, ...],
    fields: Sequence[Mapping[str, Any]],
    spelt: Mapping[str, str],
) -> Iterator[str]:
    """The changes that SQL can make. `fields` are the existing columns as the REST interface writes them."""
    known = by_name(existing)
    written = {field["name"].lower(): field for field in fields}
    for column in grown:
        old = known.get(column.name.lower())
        if old is None:
            described = f" OPTIONS (description = {sql.text(column.description)})" if column.description else ""
            yield f"ADD COLUMN IF NOT EXISTS {sql.quoted(column.name)} {column.sql_type(spelt)}{described}"
        elif (wider := _widened(old, column)) != old:
            kind = _definition(wider, old, written[column.name.lower()], spelt)
            yield f"ALTER COLUMN {sql.quoted(column.name)} SET DATA TYPE {kind}"


def _definition(wider: Column, old: Column, field: Mapping[str, Any], spelt: Mapping[str, str]) -> str:
    """The type of a column that is widened. What isn't, within a record, has to be written as the table has it."""
    if wider.type == "RECORD":
        parts = zip(wider.fields, old.fields, field["fields"], strict=True)
        inner = ", ".join(f"{sql.quoted(new.name)} {_definition(new, was, raw, spelt)}" for new, was, raw in parts)
        return f"ARRAY<STRUCT<{inner}>>" if wider.repeated else f"STRUCT<{inner}>"
    kept = parameters(field) if wider.type == old.type else ""
    single = replace(wider, repeated=False)
    name = f"{single.sql_type()}{kept}" if kept else single.sql_type(spelt)
    return f"ARRAY<{name}>" if wider.repeated else name


def _changed(existing: tuple[Column, ...], grown: tuple[Column, ...]) -> list[str]:
    known = by_name(existing)
    return [each.name for each in grown if (old := known.get(each.name.lower())) is None or _widened(old, each) != old]


def _widened(old: Column, grown: Column) -> Column:
    """The column with the types that it is to have, and no further fields: SQL can't add those."""
    fields = by_name(grown.fields)
    return replace(old, type=grown.type, fields=tuple(_widened(each, fields[each.name.lower()]) for each in old.fields))


def _gained(old: Column, grown: Column) -> bool:
    """Whether there are fields in records that the table lacks."""
    return len(grown.fields) > len(old.fields) or any(
        _gained(mine, theirs) for mine, theirs in zip(old.fields, grown.fields, strict=True)
    )
