"""A table that grows keeps its rows as they were, and takes any new rows exactly as they were made.

Over generated schemas and rows, but for what the stand-in can't do: BIGNUMERIC, BYTES and JSON, arrays in arrays, and
fields that records gain. What is decided and asked for there, tests/property/test_evolution_property.py looks at.
"""

import asyncio
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from google.cloud import bigquery as google
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, fields
from pipeline_runner.bigquery.evolution import Growth, fitted
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from support.schema_rows import comparable, loaded, rows, stands
from support.schemas import TYPES, named, tables_and_wanted

KEY = Column("n", "INTEGER")
KNOWN = tuple(each for each in TYPES if each not in ("BIGNUMERIC", "BYTES", "JSON"))
# Not shrunk: against a server that takes minutes, and an example is small.
SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.reuse, Phase.generate))
_numbers = itertools.count(1)

Columns = tuple[Column, ...]
Rows = Sequence[Mapping[str, Any]]


class Grown:
    """A dataset in which tables grow, each once."""

    def __init__(self, settings: BigQuerySettings) -> None:
        self.settings = settings
        self.client = bigquery_client(settings)
        self.dataset = f"{settings.project}.grown{next(_numbers)}_test"
        self.client.create_dataset(google.Dataset(self.dataset))

    def table(self, columns: Columns, rows: Rows) -> str:
        """A new table with these rows; its name."""
        name = f"{self.dataset}.t{next(_numbers)}"
        self.client.create_table(google.Table(name, fields(columns)), retry=None)
        if rows:
            lines = "".join(f"{json.dumps(loaded(each))}\n" for each in rows)
            config = google.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=fields(columns))
            self.client.load_table_from_file(BytesIO(lines.encode()), name, job_config=config).result(timeout=60)
        return name

    async def grow(self, name: str, origin: str, wanted: Columns) -> Columns:
        """Have a table take the rows of another one, as a run does; its columns from then on."""
        warehouse = Warehouse(self.settings, Identity("acme", f"run_g{next(_numbers)}", "a"))
        table = await warehouse.table(name, what="table", right="")
        assert table is not None
        columns = await fitted(warehouse, table, wanted, f"`{origin}` AS s", "US")
        await Growth(warehouse, "US").grow("grow", table, columns)
        values = sql.copied_columns(wanted, columns)
        names, told = (", ".join(each) for each in zip(*((f"`{name}`", value) for name, value in values), strict=True))
        insert = f"INSERT INTO `{name}` ({names}) SELECT {told} FROM `{origin}` AS s"
        await warehouse.query("fill", insert, location="US", what="filling")
        return columns

    def read(self, name: str) -> tuple[dict[str, str], Rows]:
        """A table's columns with their types, as a query tells them, and its rows in the order of their keys."""
        found = self.client.query(f"SELECT * FROM `{name}` ORDER BY n", job_retry=None).result(timeout=60)
        return {each.name: each.field_type for each in found.schema}, [dict(each) for each in found]


@pytest.fixture
def tables(bigquery_settings: BigQuerySettings) -> Grown:
    return Grown(bigquery_settings)


@settings(SLOW, max_examples=12)
@given(data=st.data())
def test_a_table_that_grows_keeps_its_rows_and_takes_the_new_ones(tables: Grown, data: st.DataObject) -> None:
    check(tables, data)


@pytest.mark.full
@settings(SLOW, max_examples=150)
@given(data=st.data())
def test_many_more_do(tables: Grown, data: st.DataObject) -> None:
    check(tables, data)


def check(tables: Grown, data: st.DataObject) -> None:
    drawn, asked = data.draw(tables_and_wanted(KNOWN))
    existing: Columns = (KEY, *plain(drawn))
    wanted: Columns = (KEY, *without_new_fields(plain(asked), existing))
    before = data.draw(st.lists(rows(existing), max_size=3), label="before")
    after = data.draw(st.lists(rows(wanted), min_size=1, max_size=3), label="after")
    for number, row in enumerate([*before, *after]):
        row["n"] = number
    target, origin = tables.table(existing, before), tables.table(wanted, after)
    columns = asyncio.run(tables.grow(target, origin, wanted))
    types, found = tables.read(target)
    assert types == {column.name: column.type for column in columns}
    assert set(named(columns)) == set(named(existing)) | set(named(wanted))
    made = [
        stands(each, shape, columns) for shape, several in ((existing, before), (wanted, after)) for each in several
    ]
    assert [comparable(each, columns) for each in found] == [comparable(each, columns) for each in made]


def plain(columns: Columns, *, within: bool = False) -> Columns:
    """The columns without arrays in arrays, which the stand-in can't put in order."""
    return tuple(
        replace(each, repeated=each.repeated and not within, fields=plain(each.fields, within=within or each.repeated))
        for each in columns
    )


def without_new_fields(wanted: Columns, existing: Columns, *, within: bool = False) -> Columns:
    """The columns, without fields that the table's records lack."""
    known, left = named(existing), []
    for column in wanted:
        mine = known.get(column.name.lower())
        if mine is None:
            left += [] if within else [column]
            continue
        kept = replace(column, fields=without_new_fields(column.fields, mine.fields, within=True))
        left += [kept] if kept.fields or kept.type != "RECORD" else []
    return tuple(left)
