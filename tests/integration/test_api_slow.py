"""A provider whose answers take their time: those within the client's patience pass, the others are asked for again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_local.simulators.server import Simulators, start_simulators
from pipeline_local.simulators.simulation import Seen
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.provider_checks import DAYS, REPORTS, check, succeeds, without_waiting
from support.provider_runs import Customer, customer_with_key

# Of a whole answer, or of any piece of it.
LIMITS = ("PIPELINES_API_ANSWER_SECONDS", "PIPELINES_API_READ_SECONDS")
_NEVER_MS = 60_000


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with start_simulators(seed=17) as started:
        yield started


@pytest.fixture(params=["openai", "anthropic"])
def customer(
    request: pytest.FixtureRequest,
    bigquery_settings: BigQuerySettings,
    simulators: Simulators,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Customer:
    without_waiting(monkeypatch)
    return customer_with_key(bigquery_settings, request.param, simulators, tmp_path, monkeypatch)


def slow(customer: Customer) -> list[Seen]:
    return [each for each in customer.simulators.requests if each.fault == "slow"]


@pytest.mark.parametrize("limit", LIMITS)
async def test_answers_that_dont_come_in_time_are_asked_for_again(
    customer: Customer, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setenv(limit, "0.5")
    script = [{"path": "cost", "kind": "slow", "times": 2}, {"path": "usage", "kind": "slow"}]
    customer.simulators.plan(slow_ms=_NEVER_MS, script=script)
    outcome = await succeeds(customer.document(**DAYS))
    assert [each.status for each in slow(customer)] == [None] * 3, "nobody waited for them"
    check(customer, outcome)


async def test_answers_that_come_in_time_are_asked_for_once(customer: Customer) -> None:
    customer.simulators.plan(slow_ms=300, faults={"slow": 1.0})
    check(customer, await succeeds(customer.document(**DAYS)))
    assert len(slow(customer)) == customer.simulators.count(customer.provider) == REPORTS[customer.provider]  # type: ignore[arg-type]


async def test_a_provider_that_never_answers_is_transient_and_the_days_stay(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await succeeds(customer.document(**DAYS))
    before = {key: sorted(map(str, customer.rows(key))) for key in ("costs", "usage")}
    monkeypatch.setenv("PIPELINES_API_READ_SECONDS", "0.2")
    monkeypatch.setenv("PIPELINES_API_RETRY_SECONDS", "5")
    customer.simulators.plan(slow_ms=_NEVER_MS, script=[{"path": "cost", "kind": "slow", "times": None}])
    outcome, code = await execute(customer.document(**DAYS), Progress())
    assert code is ExitCode.TRANSIENT, outcome.error
    assert "ReadTimeout" in (outcome.error or "")
    for key, rows in before.items():
        assert sorted(map(str, customer.rows(key))) == rows
