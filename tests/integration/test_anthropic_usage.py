"""Anthropic's own traps, one by one, against the simulator and BigQuery's stand-in."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_local.simulators.server import ANTHROPIC_KEY, Simulators, start_simulators
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.provider_runs import Customer, customer_with_key, same_rows, total

FIRST, LAST = date(2026, 10, 5), date(2026, 10, 7)
DAYS = {"start_date": FIRST.isoformat(), "end_date": LAST.isoformat()}


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with start_simulators(seed=13) as started:
        yield started


@pytest.fixture
def customer(
    bigquery_settings: BigQuerySettings, simulators: Simulators, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Customer:
    return customer_with_key(bigquery_settings, "anthropic", simulators, tmp_path, monkeypatch)


async def run(customer: Customer, **source: object) -> tuple[str | None, ExitCode]:
    outcome, code = await execute(customer.document(source=source, **DAYS), Progress())
    return outcome.error, code


async def test_cents_are_dollars_in_the_table(customer: Customer) -> None:
    assert await run(customer) == (None, ExitCode.OK)
    truth, rows = customer.truth(FIRST, LAST), customer.rows("costs")
    cents = truth.total("costs", "cents")
    assert cents > 0
    # each row is rounded at its ninth decimal, by half a billionth at most
    assert abs(total(rows, "amount") * 100 - cents) <= Decimal("0.0000001") * len(rows)
    assert {each["currency"] for each in rows} == {"USD"}


async def test_tokens_written_to_the_cache_are_read_from_their_object(customer: Customer) -> None:
    assert await run(customer) == (None, ExitCode.OK)
    truth, rows = customer.truth(FIRST, LAST), customer.rows("usage")
    for length in ("1h", "5m"):
        expected = truth.total("usage", f"cache_creation.ephemeral_{length}_input_tokens")
        assert total(rows, f"cache_creation_{length}_input_tokens") == expected > 0
    searches = truth.total("usage", "server_tool_use.web_search_requests")
    assert total(rows, "web_search_requests") == searches > 0


async def test_the_default_workspace_and_the_console_are_rows_too(customer: Customer) -> None:
    assert await run(customer) == (None, ExitCode.OK)
    rows = customer.rows("usage")
    assert any(each["workspace_id"] is None for each in rows)
    assert any(each["api_key_id"] is None for each in rows)
    same_rows(rows, customer.truth(FIRST, LAST).rows["usage"])


async def test_priority_is_in_usage_alone_and_code_execution_in_costs_alone(customer: Customer) -> None:
    assert await run(customer) == (None, ExitCode.OK)
    costs, usage = customer.rows("costs"), customer.rows("usage")
    assert "priority" in {each["service_tier"] for each in usage}
    assert "priority" not in {each["service_tier"] for each in costs}
    assert "code_execution" in {each["cost_type"] for each in costs}


async def test_five_dimensions_are_asked_for_and_others_may_be_chosen(customer: Customer) -> None:
    assert await run(customer) == (None, ExitCode.OK)
    (usage,) = [each.query for each in customer.simulators.requests if each.path.endswith("/messages")]
    assert usage.count("group_by%5B%5D=") == 5
    chosen = ["inference_geo", "model"]
    assert await run(customer, group_by=chosen) == (None, ExitCode.OK)
    expected = customer.simulators.truth("anthropic", FIRST, LAST, group_by=chosen)
    same_rows(customer.rows("usage"), expected.rows["usage"])


async def test_requests_name_their_version_and_us(customer: Customer) -> None:
    assert await run(customer) == (None, ExitCode.OK)
    for each in customer.simulators.requests:
        assert each.headers["anthropic-version"] == "2023-06-01"
        assert each.headers["user-agent"].startswith("pipelines/")
        assert ANTHROPIC_KEY not in str(each)


async def test_a_429_without_retry_after_waits_for_the_reset_that_it_names(customer: Customer) -> None:
    customer.simulators.plan(script=[{"path": "cost_report", "kind": "429-reset"}], wait_ms=1)
    assert await run(customer) == (None, ExitCode.OK)
    assert customer.simulators.count("anthropic") == 3


async def test_amounts_may_come_as_numbers_too(customer: Customer) -> None:
    customer.simulators.plan(amounts="mixed")
    assert await run(customer) == (None, ExitCode.OK)
    same_rows(customer.rows("costs"), customer.truth(FIRST, LAST).rows["costs"])
