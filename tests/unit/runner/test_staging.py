"""What is read by the Storage Read API is loaded as it comes, and every file is closed, whatever happens."""

import io
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.cloud import bigquery

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery import sql, storage_read
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.copying import Copy
from pipeline_runner.bigquery.source import Source
from pipeline_runner.bigquery.staging import Staging
from pipeline_runner.bigquery.storage_read import Part
from pipeline_runner.errors import TransientError

TIME = Column("t", "TIMESTAMP")
SOURCE = Source("p.d.t", "p", "EU", (TIME,), TIME, is_table=True, by_ingestion=False)
READ_AT = datetime(2026, 11, 2, tzinfo=UTC)
COPY = Copy(SOURCE, "TRUE", (TIME,), (TIME,), "US")


class Warehouse:
    """Takes what is loaded; `broken` fails instead."""

    settings = BigQuerySettings(project="p")
    credentials = None

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.loading = threading.Event()
        self.steps: list[str] = []
        self.made: list[bigquery.Table] = []

    async def create_table(self, table: bigquery.Table, **_: object) -> bigquery.Table:
        self.made.append(table)
        return bigquery.Table.from_api_repr({**table.to_api_repr(), "creationTime": "1000"})

    async def load_parquet(self, step: str, *_: object, **__: object) -> None:
        self.loading.set()
        self.steps.append(step)
        if self.broken:
            raise TransientError("loading failed")

    async def query(self, step: str, *_: object, **__: object) -> list[dict[str, Any]]:
        return []


async def staged(monkeypatch: pytest.MonkeyPatch, warehouse: Warehouse) -> list[io.BytesIO]:
    """Stage two parts, of which the second is ready only when the first is being loaded; their files."""
    files = [io.BytesIO(), io.BytesIO()]

    def parts(*_: object, **__: object) -> Iterator[Part]:
        for file in files:
            yield Part(file, 1)
            assert warehouse.loading.wait(10)

    monkeypatch.setattr(storage_read, "read_parts", parts)
    staging = Staging(warehouse, "p.d", "x")  # type: ignore[arg-type]
    if warehouse.broken:
        with pytest.raises(TransientError, match="loading failed"):
            await staging.by_storage(COPY, READ_AT, lambda _: None)
    else:
        await staging.by_storage(COPY, READ_AT, lambda _: None)
    return files


async def test_a_part_is_loaded_while_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = Warehouse()
    files = await staged(monkeypatch, warehouse)
    assert warehouse.steps == ["load1", "load2"]
    assert all(file.closed for file in files)


async def test_a_staging_table_that_nobody_drops_goes_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = Warehouse()
    started = datetime.now(UTC)
    await staged(monkeypatch, warehouse)
    (made,) = warehouse.made
    # the client keeps milliseconds
    assert timedelta(hours=23, minutes=59) < made.expires - started < timedelta(hours=25)


async def test_a_load_that_fails_ends_the_read(monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = Warehouse(broken=True)
    files = await staged(monkeypatch, warehouse)
    assert warehouse.steps == ["load1"]
    assert all(file.closed for file in files)


def test_a_staging_table_is_made_whole_by_one_statement_and_expires() -> None:
    expires = datetime.combine(date(2026, 11, 2), datetime.min.time(), UTC)
    assert sql.create("p.d.s", [("t", "s.`t`")], "`p.d.t` AS s", expires) == (
        "CREATE OR REPLACE TABLE `p.d.s`\n"
        "OPTIONS (expiration_timestamp = TIMESTAMP '2026-11-02 00:00:00+00:00') AS\n"
        "SELECT\n  s.`t` AS `t`\nFROM `p.d.t` AS s"
    )


async def test_a_query_stages_exact_decimals_also_for_a_wider_target() -> None:
    """A cast of a FLOAT to BIGNUMERIC would take its binary digits, which the stand-in's cast doesn't show."""
    cost, exact, wider = (Column("cost", kind) for kind in ("FLOAT", "NUMERIC", "BIGNUMERIC"))
    source = Source("p.d.t", "p", "US", (TIME, cost), TIME, is_table=True, by_ingestion=False)
    copy = Copy(source, "TRUE", (TIME, exact), (TIME, wider), "US")
    statements: dict[str, str] = {}

    class Noting(Warehouse):
        async def query(self, step: str, *rest: object, **__: object) -> list[dict[str, Any]]:
            statements[step] = str(rest[0])
            return [{"row_count": 0, "sum_0": None}] if step == "count" else []

    await Staging(Noting(), "p.d", "x").by_query(copy, READ_AT)  # type: ignore[arg-type]
    assert f"{sql.decimal('s.`cost`')} AS `cost`" in statements["stage"]
    assert "BIGNUMERIC" not in statements["stage"]
    assert ("cost", "CAST(s.`cost` AS BIGNUMERIC)") in sql.copied_columns(copy.wanted, copy.columns)
