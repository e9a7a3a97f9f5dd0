"""Rows that are set aside: how many are kept, and in what form."""

import json
from datetime import date
from typing import IO, Any

import pytest

from pipeline_runner.bigquery import quarantine
from pipeline_runner.bigquery.quarantine import Quarantine
from pipeline_runner.bigquery.warehouse import Identity


class Warehouse:
    """Keeps the lines that are loaded, and the steps in their order."""

    identity = Identity("acme", "run_1", "a")

    def __init__(self, *, exists: bool = False) -> None:
        self.exists = exists
        self.lines: list[dict[str, Any]] = []
        self.steps: list[str] = []

    async def table(self, name: str, **_: object) -> object:
        return object() if self.exists else None

    async def create_table(self, table: Any, **_: object) -> None:
        self.steps.append(f"create {table.table_id}")

    async def query(self, step: str, statement: str, **_: object) -> list[Any]:
        self.steps.append(statement.partition(" ")[0])
        return []

    async def load_ndjson(self, step: str, part: IO[bytes], *_: object, **__: object) -> None:
        self.steps.append("load")
        part.seek(0)
        self.lines += map(json.loads, part.read().splitlines())


async def kept(*rows: dict[str, object], exists: bool = False) -> tuple[Warehouse, Quarantine]:
    warehouse = Warehouse(exists=exists)
    made = Quarantine(warehouse, "p.d", location="US")  # type: ignore[arg-type]
    for row in rows:
        made.add("costs", "api_costs", row, "v: no", date(2026, 11, 1))
    await made.write()
    return warehouse, made


async def test_those_of_an_earlier_attempt_go_first() -> None:
    warehouse, _ = await kept({"v": 1})
    assert warehouse.steps == ["create _pipelines_quarantine", "DELETE", "load"]
    (line,) = warehouse.lines
    assert line.pop("quarantined_at")
    assert line == {"run_id": "run_1", "target": "api_costs", "day": "2026-11-01", "reason": "v: no", "row": {"v": 1}}


async def test_without_rows_there_is_nothing_to_do() -> None:
    warehouse, _ = await kept()
    assert warehouse.steps == []


async def test_those_of_an_earlier_attempt_go_though_this_one_has_none() -> None:
    warehouse, _ = await kept(exists=True)
    assert warehouse.steps == ["DELETE"]


async def test_a_run_keeps_so_many_and_counts_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MAX_ROWS", 3)
    warehouse, made = await kept(*({"v": number} for number in range(10)))
    assert [line["row"] for line in warehouse.lines] == [{"v": 0}, {"v": 1}, {"v": 2}]
    assert made.counts == {"costs": 10}


async def test_a_row_that_is_long_or_no_text_is_shown_as_text() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    warehouse, _ = await kept({"v": "x" * 100_000}, {"v": "\ud800"}, {"v": deep})
    long, half, nested = (line["row"] for line in warehouse.lines)
    assert (long[:7], len(long)) == ('{"v": "', 16_000)
    assert half == '{"v": "\\ud800"}'
    assert nested == "(nested too deeply to be shown)"
