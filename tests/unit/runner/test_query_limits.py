"""How long BigQuery may be away is a setting, and it reaches the calls."""

import asyncio
from typing import Any

import pytest

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.settings import QueryLimits

OUTAGE = 600.0


def test_three_attempts_sit_out_ten_minutes_by_default() -> None:
    assert 3 * QueryLimits().retry_seconds > OUTAGE


def test_a_call_is_tried_again_for_the_seconds_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_BIGQUERY_RETRY_SECONDS", "7")
    settings = BigQuerySettings(project="p", credentials="anonymous")
    warehouse = Warehouse(settings, Identity("acme", "run_1", "a"), **QueryLimits().model_dump())
    tried: list[float | None] = []

    def get_table(_name: str, *, retry: Any, **_: object) -> None:
        tried.append(retry.timeout)

    monkeypatch.setattr(warehouse.client, "get_table", get_table)
    asyncio.run(warehouse.table("p.d.t", what="table", right=""))
    assert tried == [7.0]
