"""OpenAI's own traps, one by one, against the simulator and BigQuery's stand-in."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_local.simulators.server import Simulators, start_simulators
from pipeline_runner.api.client import ApiClient
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.provider_runs import Customer, customer_with_key, same_rows, total

DAY = date(2026, 10, 1)
COSTS = "openai /v1/organization/costs"


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with start_simulators(seed=11) as started:
        yield started


@pytest.fixture
def customer(
    bigquery_settings: BigQuerySettings, simulators: Simulators, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Customer:
    return customer_with_key(bigquery_settings, "openai", simulators, tmp_path, monkeypatch)


def page(*results: object) -> dict[str, Any]:
    """The answer for the day, with these results."""
    start = int(datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC).timestamp())
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86_400, "results": list(results)}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


def cost(value: object, **fields: object) -> dict[str, Any]:
    amount = {"value": value, "currency": "usd"}
    return {
        "object": "organization.costs.result",
        "amount": amount,
        "project_id": "proj_1",
        "line_item": "gpt-4o, input",
    } | fields


def answers_costs(monkeypatch: pytest.MonkeyPatch, answer: Mapping[str, Any]) -> None:
    """Have the API answer so about costs, which no simulator would: everything else is theirs."""
    asked = ApiClient.answer

    @asynccontextmanager
    async def patched(self: ApiClient, path: str, query: Sequence[tuple[str, str]]) -> AsyncIterator[dict[str, Any]]:
        if path == "/v1/organization/costs":
            yield dict(answer)
            return
        async with asked(self, path, query) as found:
            yield found

    monkeypatch.setattr(ApiClient, "answer", patched)


async def run(customer: Customer, **source: object) -> tuple[str | None, ExitCode]:
    outcome, code = await execute(customer.document(source=source, date=DAY.isoformat()), Progress())
    return outcome.error, code


@pytest.mark.parametrize("form", ["strings", "numbers", "mixed"])
async def test_amounts_are_right_however_they_are_written(customer: Customer, form: str) -> None:
    customer.simulators.plan(amounts=form)
    assert await run(customer) == (None, ExitCode.OK)
    same_rows(customer.rows("costs"), customer.truth(DAY, DAY).rows["costs"])


async def test_costs_are_by_project_and_line_item_and_never_by_key(customer: Customer) -> None:
    assert (await run(customer))[1] is ExitCode.OK
    (costs,) = [each.query for each in customer.simulators.requests if each.path == "/v1/organization/costs"]
    assert costs.count("group_by%5B%5D=") == 2
    assert "api_key_id" not in costs


async def test_all_ten_endpoints_are_read_and_told_apart(customer: Customer) -> None:
    assert (await run(customer))[1] is ExitCode.OK
    expected = {each["endpoint"] for each in customer.truth(DAY, DAY).rows["usage"]}
    assert {each["endpoint"] for each in customer.rows("usage")} == expected
    assert len(expected) == 10


async def test_an_organization_may_leave_endpoints_out(customer: Customer) -> None:
    customer.simulators.plan(script=[{"path": "vector_stores", "status": 404, "body": {"error": {"message": "gone"}}}])
    error, code = await run(customer)
    assert code is ExitCode.CONFIG
    assert "gone" in (error or "")
    assert await run(customer, endpoints="completions, embeddings") == (None, ExitCode.OK)
    assert {each["endpoint"] for each in customer.rows("usage")} == {"completions", "embeddings"}


async def test_a_wait_in_milliseconds_is_kept(customer: Customer) -> None:
    customer.simulators.plan(script=[{"path": COSTS, "kind": "429-retry-after-ms"}], wait_ms=1)
    assert await run(customer) == (None, ExitCode.OK)
    assert customer.simulators.count("openai") == 12


async def test_a_result_that_does_not_fit_is_shown_and_stops_the_run(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await run(customer))[1] is ExitCode.OK
    before = customer.rows("costs")
    answer = page(cost("1.50"), cost("free of charge", project_id="proj_2"), cost(None))
    answers_costs(monkeypatch, answer)
    error, code = await run(customer)
    assert code is ExitCode.DATA
    assert "2" in (error or "")
    assert customer.rows("costs") == before
    found = customer.sql(f"SELECT target, reason FROM `{customer.dataset}._pipelines_quarantine` ORDER BY reason")
    assert [each["target"] for each in found] == ["openai_costs", "openai_costs"]
    assert found[0]["reason"].startswith("amount.value: expected a number")
    assert found[1]["reason"] == "amount.value: required, but missing"


async def test_what_may_be_set_aside_is_set_aside(customer: Customer, monkeypatch: pytest.MonkeyPatch) -> None:
    document = customer.document(date=DAY.isoformat())
    document.config["checks"] = {"quarantined": {"max": 1}}
    answer = page(cost("1.50"), cost("free of charge"))
    answers_costs(monkeypatch, answer)
    outcome, code = await execute(document, Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    assert [each["amount"] for each in customer.rows("costs")] == [Decimal("1.50")]


async def test_costs_that_come_without_what_they_were_asked_by_are_not_published(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await run(customer))[1] is ExitCode.OK
    before = customer.rows("costs")
    answers_costs(monkeypatch, page(cost("3.25", project_id=None, line_item=None)))
    error, code = await run(customer)
    assert code is ExitCode.DATA
    assert "not_null_proportion.line_item: expected at least 0.5, found values in 0 of 1 rows" in (error or "")
    assert customer.rows("costs") == before


async def test_one_cost_without_its_line_item_is_published_with_the_others(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_costs(monkeypatch, page(cost("3.25"), cost("0.75", line_item=None)))
    error, code = await run(customer)
    assert (error, code) == (None, ExitCode.OK)
    assert sorted(each["amount"] for each in customer.rows("costs")) == [Decimal("0.75"), Decimal("3.25")]


async def test_a_check_of_the_config_stops_what_it_says(customer: Customer) -> None:
    document = customer.document(date=DAY.isoformat())
    document.config["checks"] = {"sum": {"amount": {"max": "0.01"}}, "row_count": {"max": 1}}
    outcome, code = await execute(document, Progress())
    assert code is ExitCode.DATA
    assert "amount" in (outcome.error or "")
    assert "row_count" in (outcome.error or "")
    assert "openai_costs" not in customer.tables()


async def test_amounts_finer_than_a_billionth_are_rounded_and_no_more(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = page(cost("0.0000000005"), cost("0.00000000049"), cost("1e-9", line_item="x"), cost("-0.0000000005"))
    answers_costs(monkeypatch, answer)
    assert await run(customer) == (None, ExitCode.OK)
    rows = customer.rows("costs")
    billionth = Decimal("0.000000001")
    assert sorted(each["amount"] for each in rows) == [-billionth, Decimal(0), billionth, billionth]
    assert total(rows, "amount") == billionth


async def test_an_amount_that_numeric_does_not_hold_is_set_aside(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers_costs(monkeypatch, page(cost("1e30")))
    error, code = await run(customer)
    assert code is ExitCode.DATA, error
    (found,) = customer.sql(f"SELECT reason FROM `{customer.dataset}._pipelines_quarantine`")
    assert "amount" in found["reason"]
