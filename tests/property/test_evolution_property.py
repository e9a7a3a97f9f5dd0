"""Any table grows into any shape that fits it: nothing of it is lost, moved or narrowed, and what doesn't fit is told.

What a type holds and takes is written down here once more, apart from the runner's own tables.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from google.cloud import bigquery
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, ColumnConflictError, fields, grown, merge
from pipeline_runner.bigquery.evolution import Growth
from support.schemas import JOINED, PARAMETERS, as_fields, columns, named, tables_and_wanted

# The types whose values each of these holds to the last digit.
HOLDS = {"NUMERIC": {"INTEGER"}, "BIGNUMERIC": {"INTEGER", "NUMERIC"}}
# Those that it is given, cast: a moment of a day, or what an expression has checked.
GIVEN = HOLDS | {"FLOAT": {"INTEGER"}, "DATETIME": {"DATE"}, "TIMESTAMP": {"DATE"}}
# What SQL calls otherwise than the REST interface.
SQL_NAMES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}

Shape = tuple[tuple[str, "Shape"], ...]


@given(tables_and_wanted())
def test_a_table_keeps_its_columns_and_grows_behind_them(pair: tuple[tuple[Column, ...], tuple[Column, ...]]) -> None:
    existing, wanted = pair
    result = merge(existing, wanted)
    has_grown(existing, wanted, result)
    event(f"grown: {result != existing}")


def has_grown(existing: tuple[Column, ...], wanted: tuple[Column, ...], result: tuple[Column, ...]) -> None:
    """Assert that `result` is `existing`, column by column, and then what is new of `wanted`, at each level."""
    old, asked = named(existing), named(wanted)
    assert [each.name for each in result[: len(existing)]] == [each.name for each in existing]
    assert list(result[len(existing) :]) == [each for each in wanted if each.name.lower() not in old]
    for before, after in zip(existing, result, strict=False):
        new = asked.get(before.name.lower())
        assert (after.name, after.repeated, after.description) == (before.name, before.repeated, before.description)
        assert after.type == before.type or before.type in HOLDS.get(after.type, ()), "no type is narrowed"
        if new is None:
            assert after == before
        else:
            assert after.type == new.type or new.type in GIVEN.get(after.type, ()), "what is wanted can be written"
            has_grown(before.fields, new.fields, after.fields)


@given(tables_and_wanted())
def test_a_table_that_has_grown_takes_both_shapes_from_then_on(
    pair: tuple[tuple[Column, ...], tuple[Column, ...]],
) -> None:
    existing, wanted = pair
    result = merge(existing, wanted)
    assert merge(result, wanted) == result
    assert merge(result, existing) == result
    assert merge(result, result) == result
    assert merge(existing, ()) == existing
    assert merge((), wanted) == wanted


@given(tables_and_wanted(fitting=False))
def test_what_does_not_fit_is_told_and_nothing_else_is_refused(
    pair: tuple[tuple[Column, ...], tuple[Column, ...]],
) -> None:
    existing, wanted = pair
    expected = dict(conflicts(existing, wanted))
    event(f"conflicts: {min(len(expected), 2)}")
    if not expected:
        has_grown(existing, wanted, merge(existing, wanted))
        return
    with pytest.raises(ColumnConflictError) as refused:
        merge(existing, wanted)
    was, now = expected[refused.value.column]
    assert str(refused.value) == f"the target's column {refused.value.column} is {was}, but the source's is now {now}"


def conflicts(
    existing: tuple[Column, ...], wanted: tuple[Column, ...], where: str = ""
) -> Iterator[tuple[str, tuple[str, str]]]:
    """The columns that can't take what is wanted: the dotted name, and both types as people name them."""
    asked = named(wanted)
    for column in existing:
        new, name = asked.get(column.name.lower()), where + column.name
        if new is None:
            continue
        if column.type == new.type == "RECORD" and column.repeated == new.repeated:
            yield from conflicts(column.fields, new.fields, f"{name}.")
        elif column.repeated != new.repeated or (column.type, new.type) not in JOINED:
            was, now = (f"{'REPEATED ' * each.repeated}{each.type}" for each in (column, new))
            yield name, (was, now)


@given(tables_and_wanted())
def test_each_wanted_column_has_one_value_in_the_order_of_the_table(
    pair: tuple[tuple[Column, ...], tuple[Column, ...]],
) -> None:
    existing, wanted = pair
    target, asked = merge(existing, wanted), named(wanted)
    values = sql.copied_columns(wanted, target)
    assert [name for name, _ in values] == [each.name for each in target if each.name.lower() in asked]
    assert {name.lower() for name, _ in values} == set(asked)
    standing = named(target)
    for name, value in values:
        origin, column = asked[name.lower()], standing[name.lower()]
        plain = f"s.`{origin.name}`"
        assert (value == plain) is (typed(origin) == typed(column))
        assert plain in value


def typed(column: Column) -> object:
    """What a value of a column is; names ignore case."""
    return column.name.lower(), column.type, column.repeated, [typed(each) for each in column.fields]


@given(st.data(), columns())
def test_a_schema_as_it_is_written_keeps_whatever_its_fields_have(
    data: st.DataObject, existing: tuple[Column, ...]
) -> None:
    written = data.draw(as_fields(existing))
    _, wanted = data.draw(tables_and_wanted(existing=existing))
    result = grown(written, wanted)
    keeps(written, result)
    assert names(Column.from_api(each) for each in result) == names(merge(existing, wanted))
    assert grown(result, wanted) == result


def keeps(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    for old, new in zip(before, after, strict=False):
        assert old | {"fields": None} == new | {"fields": None}
        keeps(old.get("fields", []), new.get("fields", []))


def names(of: Iterator[Column] | tuple[Column, ...]) -> Shape:
    return tuple((each.name, names(each.fields)) for each in of)


class Asked:
    """Takes the place of BigQuery: the table as it stands, the scripts, and what was to be added within records."""

    is_stand_in = False

    def __init__(self, table: bigquery.Table) -> None:
        self.standing = table
        self.changes: list[str] = []
        self.updates = 0

    async def table(self, name: str, **_: str) -> bigquery.Table:
        assert name == str(self.standing.reference)
        return self.standing

    async def query(self, step: str, script: str, **_: str) -> list[dict[str, Any]]:
        self.changes += [line.removeprefix("ALTER TABLE `p.d.t` ") for line in script.splitlines()]
        return []

    async def update_schema(self, table: bigquery.Table, wanted: tuple[Column, ...]) -> None:
        self.updates += 1


# of few types as well: else what is widened would seldom have something narrow beside it
@settings(max_examples=300)
@given(st.data(), columns() | columns(("INTEGER", "NUMERIC", "STRING")))
def test_a_table_is_asked_for_what_it_lacks_and_for_nothing_else(
    data: st.DataObject, existing: tuple[Column, ...]
) -> None:
    written = data.draw(as_fields(existing))
    _, wanted = data.draw(tables_and_wanted(existing=existing))
    asked = asked_for(written, wanted)
    if asked is None:
        assert ("FLOAT", "INTEGER") in pairs(existing, wanted), "nothing would check an INTEGER in a FLOAT column"
        return
    result = merge(existing, wanted)
    added = [
        f"ADD COLUMN IF NOT EXISTS `{each.name}` {each.sql_type()}{told(each)};" for each in result[len(existing) :]
    ]
    altered = [
        f"ALTER COLUMN `{old.name}` SET DATA TYPE {widened(old, new, field)};"
        for old, new, field in zip(existing, result, written, strict=False)
        if retyped(old, new)
    ]
    assert asked.changes == altered + added
    assert asked.updates == any(gained(old, new) for old, new in zip(existing, result, strict=False))
    again = asked_for([each.to_api_repr() for each in fields(result)], wanted)
    assert again is not None
    assert (again.changes, again.updates) == ([], 0)


def asked_for(written: list[dict[str, Any]], wanted: tuple[Column, ...]) -> Asked | None:
    """What a table that is written so is asked for; None where it can't take what is wanted."""
    table = bigquery.Table("p.d.t", [bigquery.SchemaField.from_api_repr(each) for each in written])
    asked = Asked(table)
    try:
        asyncio.run(Growth(asked, "US").grow("grow", table, wanted))  # type: ignore[arg-type]
    except ColumnConflictError:
        return None
    return asked


def pairs(existing: tuple[Column, ...], wanted: tuple[Column, ...]) -> set[tuple[str, str]]:
    """The types of the columns that both have, at any level."""
    asked, found = named(wanted), set()
    for column in existing:
        if new := asked.get(column.name.lower()):
            found |= {(column.type, new.type)} | pairs(column.fields, new.fields)
    return found


def told(column: Column) -> str:
    """The description as a new column gets it."""
    return f" OPTIONS (description = '{column.description}')" if column.description else ""


def retyped(old: Column, new: Column) -> bool:
    return old.type != new.type or any(map(retyped, old.fields, new.fields))


def gained(old: Column, new: Column) -> bool:
    return len(old.fields) < len(new.fields) or any(map(gained, old.fields, new.fields))


def widened(old: Column, new: Column, field: dict[str, Any]) -> str:
    """A column's type in SQL with the types that are wanted, and without the fields that SQL can't add.

    What isn't widened beside a field that is stays as narrow as somebody has made it.
    """
    if old.type == "RECORD":
        inner = zip(old.fields, new.fields, field["fields"], strict=False)
        name = f"STRUCT<{', '.join(f'`{was.name}` {widened(was, now, raw)}' for was, now, raw in inner)}>"
    else:
        parameters, behind = PARAMETERS.get(new.type, ({}, ""))
        is_narrow = old.type == new.type and bool(parameters) and parameters.items() <= field.items()
        name = SQL_NAMES.get(new.type, new.type) + (behind if is_narrow else "")
    return f"ARRAY<{name}>" if old.repeated else name


def test_types_that_nobody_can_join_are_told_at_any_depth() -> None:
    """The generated conflicts aren't all at the top."""
    inner = (Column("a", "RECORD", True, (Column("B", "STRING"),)),)
    with pytest.raises(ColumnConflictError, match=r"column a\.B is STRING, but the source's is now INTEGER"):
        merge(inner, (Column("A", "RECORD", True, (Column("b", "INTEGER"),)),))
