"""How a table that exists takes new types: widened, cast on the way in, or refused."""

from typing import Any

import pytest
from google.cloud import bigquery

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, ColumnConflictError, fields, merge
from pipeline_runner.bigquery.evolution import Growth, with_row

TYPES = ("STRING", "BYTES", "INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC", "BOOLEAN", "TIMESTAMP", "DATE", "DATETIME",
         "TIME", "JSON")  # fmt: skip
# What the existing type, and the wanted one, become together. All else is refused.
TABLE = {
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


@pytest.mark.parametrize("existing", TYPES)
@pytest.mark.parametrize("wanted", TYPES)
@pytest.mark.parametrize("within", [False, True])
def test_types_by_the_table(existing: str, wanted: str, within: bool) -> None:
    def column(type_: str) -> tuple[Column, ...]:
        plain = Column("c", type_)
        return (Column("r", "RECORD", repeated=True, fields=(plain,)),) if within else (plain,)

    name = r"r\.c" if within else "c"
    if expected := TABLE.get((existing, wanted)):
        assert merge(column(existing), column(wanted)) == column(expected)
    else:
        with pytest.raises(ColumnConflictError, match=f"column {name} is {existing}, but the source's is now {wanted}"):
            merge(column(existing), column(wanted))


@pytest.mark.parametrize(
    ("existing", "wanted"), [pair for pair in TABLE if pair[0] != pair[1] and pair != ("FLOAT", "INTEGER")]
)
def test_values_are_cast_to_the_type_that_the_column_has_then(existing: str, wanted: str) -> None:
    (grown,) = merge((Column("c", existing),), (Column("c", wanted),))
    ((_, value),) = sql.copied_columns((Column("c", wanted),), (grown,))
    assert value == ("s.`c`" if grown.type == wanted else f"CAST(s.`c` AS {grown.sql_type()})")


class Warehouse:
    """Records what it is asked; a query answers with `rows`, and `now` is the table as it stands after it."""

    def __init__(self, *rows: dict[str, Any], is_stand_in: bool = False, now: tuple[Column, ...] | None = None) -> None:
        self.rows = rows
        self.is_stand_in = is_stand_in
        self.now = now
        self.scripts: list[str] = []

    async def table(self, name: str, **_: str) -> bigquery.Table | None:
        return None if self.now is None else bigquery.Table(name, fields(self.now))

    async def query(self, step: str, script: str, **_: str) -> list[dict[str, Any]]:
        self.scripts.append(script)
        return list(self.rows)


async def grow(
    existing: tuple[Column, ...] | list[bigquery.SchemaField], wanted: tuple[Column, ...], *, is_stand_in: bool = False
) -> list[str]:
    warehouse = Warehouse(is_stand_in=is_stand_in)
    schema = existing if isinstance(existing, list) else fields(existing)
    table = bigquery.Table("p.d.t", schema)
    await Growth(warehouse, "US").grow("grow", table, wanted)  # type: ignore[arg-type]
    return warehouse.scripts


async def test_columns_are_widened_and_added_by_one_job() -> None:
    record = Column("r", "RECORD", fields=(Column("a", "INTEGER"), Column("b", "STRING")))
    wider = Column("r", "RECORD", fields=(Column("a", "NUMERIC"), Column("b", "STRING")))
    wanted = (
        Column("n", "NUMERIC"), Column("list", "BIGNUMERIC", repeated=True), wider,
        Column("new", "STRING", description="it's new"),
    )  # fmt: skip
    (script,) = await grow((Column("n", "INTEGER"), Column("list", "NUMERIC", repeated=True), record), wanted)
    assert script.splitlines() == [
        "ALTER TABLE `p.d.t` ALTER COLUMN `n` SET DATA TYPE NUMERIC;",
        "ALTER TABLE `p.d.t` ALTER COLUMN `list` SET DATA TYPE ARRAY<BIGNUMERIC>;",
        "ALTER TABLE `p.d.t` ALTER COLUMN `r` SET DATA TYPE STRUCT<`a` NUMERIC, `b` STRING>;",
        "ALTER TABLE `p.d.t` ADD COLUMN IF NOT EXISTS `new` STRING OPTIONS (description = 'it\\'s new');",
    ]


async def test_the_stand_in_has_decimals_spelt_out() -> None:
    existing = (Column("n", "INTEGER"), Column("r", "RECORD", fields=(Column("a", "INTEGER"), Column("b", "NUMERIC"))))
    wanted = (Column("n", "NUMERIC"), Column("r", "RECORD", fields=(Column("a", "NUMERIC"),)), Column("new", "NUMERIC"))
    (script,) = await grow(existing, wanted, is_stand_in=True)
    assert [line.partition("DATA TYPE ")[2] for line in script.splitlines()[:2]] == [
        "NUMERIC(38, 9);", "STRUCT<`a` NUMERIC(38, 9), `b` NUMERIC(38, 9)>;",
    ]  # fmt: skip
    assert script.endswith("`new` NUMERIC(38, 9);")


async def test_what_stands_beside_a_field_that_is_widened_stays_as_the_table_has_it() -> None:
    plain = bigquery.SchemaField
    inner = plain("inner", "RECORD", "REPEATED", fields=[plain("a", "INTEGER"), plain("code", "STRING", max_length=5)])
    record = plain(
        "r", "RECORD",
        fields=[
            inner, plain("n", "NUMERIC"), plain("short", "NUMERIC", precision=10, scale=2),
            plain("whole", "BIGNUMERIC", precision=40), plain("list", "BYTES", "REPEATED", max_length=9),
        ],
    )  # fmt: skip
    wider = Column("r", "RECORD", fields=(Column("inner", "RECORD", True, (Column("a", "NUMERIC"),)),))
    (script,) = await grow([plain("first", "STRING"), record], (wider,))
    assert script == (
        "ALTER TABLE `p.d.t` ALTER COLUMN `r` SET DATA TYPE STRUCT<`inner` ARRAY<STRUCT<`a` NUMERIC, "
        "`code` STRING(5)>>, `n` NUMERIC, `short` NUMERIC(10, 2), `whole` BIGNUMERIC(40), `list` ARRAY<BYTES(9)>>;"
    )


async def test_what_is_wide_enough_stays() -> None:
    assert await grow((Column("n", "NUMERIC"), Column("old", "STRING")), (Column("N", "INTEGER"),)) == []


async def test_a_float_column_that_the_values_were_not_made_for_is_refused() -> None:
    """BigQuery would take any integer into it, rounded: another run has made it so since this one looked."""
    told = r"column (r\.)?n is FLOAT, but the source's is now INTEGER"
    whole, rounded = Column("n", "INTEGER"), Column("n", "FLOAT")
    for within in (False, True):
        mine, theirs = ((Column("r", "RECORD", fields=(each,)) if within else each,) for each in (whole, rounded))
        with pytest.raises(ColumnConflictError, match=told):
            await grow(theirs, mine)
        quicker = Warehouse(now=theirs)
        with pytest.raises(ColumnConflictError, match=told):
            await Growth(quicker, "US").grow("grow", bigquery.Table("p.d.t", []), mine)  # type: ignore[arg-type]
        assert "ADD COLUMN IF NOT EXISTS" in quicker.scripts[0]
    assert await grow((rounded,), (rounded,)) == []


async def test_a_conflict_is_told_with_a_row_and_without_one() -> None:
    conflict = ColumnConflictError("r.c", Column("c", "STRING"), Column("c", "INTEGER"))
    found = Warehouse({"conflict_value": "7", "conflict_row": "x" * 1_000})
    told = str(await with_row(found, conflict, "`p.d.s` AS s", "US"))  # type: ignore[arg-type]
    assert told == (
        "the target's column r.c is STRING, but the source's is now INTEGER; such as 7 in the row " + "x" * 300 + " …"
    )
    assert "WHERE `r` IS NOT NULL LIMIT 1" in found.scripts[0]
    assert await with_row(Warehouse(), conflict, "`p.d.s` AS s", "US") is conflict  # type: ignore[arg-type]
