"""Whatever a provider's API does, the tables hold what it has of the run's days, to the last digit, or stay."""

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_local.simulators.server import Simulators, start_simulators
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress, Stage
from support.fault_proxy import FaultProxy, bigquery_proxy
from support.marks import in_smoke
from support.provider_checks import DAYS, FAULTS, FIRST, OURS, REPORTS, check, succeeds, without_waiting
from support.provider_runs import Customer, customer_with_key, same_rows, total
from support.runner_process import kill_at
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("quick_retries")

SEEDS = [*range(10), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(10, 200))]


@pytest.fixture(scope="module")
def simulators() -> Iterator[Simulators]:
    with start_simulators(seed=7) as started:
        yield started


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def customer(
    bigquery_settings: BigQuerySettings,
    provider: str,
    simulators: Simulators,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Customer:
    return customer_with_key(bigquery_settings, provider, simulators, tmp_path, monkeypatch)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_waiting(monkeypatch)


@pytest.fixture
def proxy(customer: Customer) -> Iterator[FaultProxy]:
    """A proxy to BigQuery that the runs of this test go through; `customer` itself goes straight."""
    with bigquery_proxy() as made:
        yield made


@pytest.mark.parametrize("seed", SEEDS)
async def test_rows_equal_the_truth_whatever_happens_and_a_second_time(
    customer: Customer, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(f"{customer.provider}{seed}")
    first = date(2026, 7, 1) + timedelta(days=chance.randrange(60))
    last = first + timedelta(days=chance.choice([0, 1, 6, 30, 31, 40]))
    width = chance.choice(["1d", "1d", "1h"]) if (last - first).days < 10 else "1d"
    customer.simulators.plan(seed=seed, faults=FAULTS)
    if seed % 4 == 3:
        monkeypatch.setenv("PIPELINES_API_MAX_BODY_BYTES", "40000")  # less than many of the pages have
    days = {"start_date": first.isoformat(), "end_date": last.isoformat()}
    for _ in range(2):
        outcome = await succeeds(customer.document(source={"bucket_width": width}, **days))
        check(customer, outcome, first, last, width)
    truth = customer.truth(first, last, bucket_width=width)
    assert abs(total(customer.rows("costs"), "amount") - truth.total("costs", "amount")) < Decimal("0.01")
    assert customer.tables() == {f"{customer.provider}_costs", f"{customer.provider}_usage"} | OURS


async def test_a_day_without_usage_is_cleared_and_others_stay(customer: Customer) -> None:
    await succeeds(customer.document(**DAYS))
    emptied = FIRST
    tables = ("costs", "usage")
    before = {table: customer.rows(table) for table in tables}
    customer.simulators.plan(empty_days={emptied})
    outcome = await succeeds(customer.document(date=emptied.isoformat()))
    assert outcome.records_processed == 0
    for table in tables:
        assert emptied in {each["usage_date"] for each in before[table]}
        kept = [each for each in before[table] if each["usage_date"] != emptied]
        assert sorted(map(str, customer.rows(table))) == sorted(map(str, kept))


async def test_late_figures_are_found_by_the_rescan(customer: Customer) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    first = yesterday - timedelta(days=2)
    customer.simulators.plan(late={first: 20, yesterday: 12})
    days = {"start_date": first.isoformat(), "end_date": yesterday.isoformat()}
    check(customer, await succeeds(customer.document(**days)), first, yesterday)
    customer.simulators.plan()
    # no days are named: the config's three, which end with yesterday
    check(customer, await succeeds(customer.document()), first, yesterday)


async def test_days_that_were_missed_are_caught_up_by_runs_that_name_none(customer: Customer) -> None:
    last = datetime.now(UTC).date() - timedelta(days=1)
    first = last - timedelta(days=40)
    await succeeds(customer.document(date=first.isoformat()))
    usage = []
    # the newest fourteen of them beside the run's own three days, then those before them, then what is left
    for _ in range(3):
        customer.simulators.reset()
        await succeeds(customer.document())
        usage.append(sum("usage" in each.path for each in customer.simulators.requests))
    assert usage == ([10, 20, 20] if customer.provider == "openai" else [1, 2, 2])
    for key, rows in customer.truth(first, last).rows.items():
        same_rows(customer.rows(key), rows)
    # nothing is missing any more, so that the next run covers its three days again
    outcome = await succeeds(customer.document())
    rows = customer.truth(last - timedelta(days=2), last).rows
    assert outcome.records_processed == len(rows["costs"]) + len(rows["usage"])


async def test_hours_are_rows_of_their_own_and_of_today_only_those_that_began(customer: Customer) -> None:
    today = datetime.now(UTC).date()
    customer.simulators.plan(late={today: 24})  # what is being used right now can't be compared
    outcome = await succeeds(customer.document(source={"bucket_width": "1h"}, date=today.isoformat()))
    assert outcome.records_processed == 0
    outcome = await succeeds(customer.document(source={"bucket_width": "1h"}, date=FIRST.isoformat()))
    check(customer, outcome, FIRST, FIRST, "1h")


async def test_every_row_says_which_run_loaded_it_and_when(customer: Customer) -> None:
    document = customer.document(**DAYS)
    began = datetime.now(UTC)
    await succeeds(document)
    rows = customer.rows("costs") + customer.rows("usage")
    assert {each["run_id"] for each in rows} == {document.run_id}
    (loaded,) = {each["loaded_at"] for each in rows}
    assert began - timedelta(seconds=5) < loaded < datetime.now(UTC) + timedelta(seconds=5)


async def test_a_run_that_has_published_asks_for_nothing_again(customer: Customer) -> None:
    document = customer.document(**DAYS)
    first = await succeeds(document)
    customer.simulators.reset()
    again = await succeeds(document)
    assert again.records_processed == first.records_processed
    assert customer.simulators.requests == []


async def test_no_more_requests_than_pages_and_no_more_at_once_than_told(customer: Customer) -> None:
    customer.simulators.plan(latency_ms=30)
    reports = REPORTS[customer.provider]
    await succeeds(customer.document(source={"at_once": 2}, start_date="2026-08-01", end_date="2026-08-31"))
    assert customer.simulators.count(customer.provider) == reports  # type: ignore[arg-type]
    assert customer.simulators.max_concurrency(customer.provider) == 2  # type: ignore[arg-type]


async def test_pages_that_are_too_large_come_as_smaller_ones(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = {"start_date": "2026-08-01", "end_date": "2026-08-31"}
    monkeypatch.setenv("PIPELINES_API_MAX_BODY_BYTES", "30000")
    check(customer, await succeeds(customer.document(**days)), date(2026, 8, 1), date(2026, 8, 31))
    asked = [parse_qs(each.query) for each in customer.simulators.requests]
    assert {int(each["limit"][0]) for each in asked} > {31, 15}
    monkeypatch.setenv("PIPELINES_API_MAX_BODY_BYTES", "300")
    outcome, code = await execute(customer.document(**days), Progress())
    assert code is ExitCode.DATA
    assert "larger than 300 bytes, though it is about one bucket alone" in (outcome.error or "")


async def test_fields_that_nobody_has_documented_are_kept(customer: Customer) -> None:
    customer.simulators.plan(faults={"unknown-fields": 1.0})
    await succeeds(customer.document(**DAYS))
    for table in ("costs", "usage"):
        rows = customer.rows(table)
        assert rows
        assert {each["further"]["billing"]["plan"] for each in rows} == {"scale"}


@pytest.mark.parametrize(("status", "code"), [(400, ExitCode.CONFIG), (403, ExitCode.CONFIG), (404, ExitCode.CONFIG)])
async def test_what_is_refused_for_good_fails_at_once_with_the_providers_words(
    customer: Customer, status: int, code: ExitCode
) -> None:
    body = {"error": {"type": "invalid_request_error", "message": "The dimension is not supported here."}}
    customer.simulators.plan(script=[{"path": "usage", "status": status, "body": body, "times": None}])
    outcome, found = await execute(customer.document(source={"at_once": 1}, **DAYS), Progress())
    assert found is code
    assert "The dimension is not supported here." in (outcome.error or "")
    assert customer.simulators.count(customer.provider) == 2  # type: ignore[arg-type]
    assert customer.tables() == set()


@pytest.mark.parametrize("kind", ["no-next-page", "same-page"])
async def test_a_broken_chain_of_pages_is_no_end(customer: Customer, kind: str) -> None:
    customer.simulators.plan(script=[{"path": "cost", "kind": kind, "times": None}])
    outcome, code = await execute(customer.document(**DAYS), Progress())
    assert code is ExitCode.DATA, outcome.error
    assert customer.tables() == set()


async def test_a_provider_that_stays_away_is_transient(customer: Customer) -> None:
    customer.simulators.plan(script=[{"path": "cost", "kind": "503", "times": None}])
    outcome, code = await execute(customer.document(**DAYS), Progress())
    assert code is ExitCode.TRANSIENT
    assert "503" in (outcome.error or "")


async def test_a_key_of_the_wrong_kind_is_named_and_not_shown(customer: Customer, tmp_path: Path) -> None:
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz"
    (tmp_path / "api_key").write_text(key)
    outcome, code = await execute(customer.document(**DAYS), Progress())
    assert code is ExitCode.CONFIG
    assert "sk-admin-" in (outcome.error or "") or "sk-ant-admin" in (outcome.error or "")
    assert key not in (outcome.error or "")


async def test_without_a_key_nothing_is_asked(customer: Customer, tmp_path: Path) -> None:
    (tmp_path / "api_key").unlink()
    outcome, code = await execute(customer.document(**DAYS), Progress())
    assert code is ExitCode.CONFIG
    assert "api_key" in (outcome.error or "")
    assert customer.simulators.requests == []


async def test_progress_rises_and_ends_with_the_rows_published(customer: Customer) -> None:
    told: list[tuple[Stage, float, int]] = []

    class Heard(Progress):
        def report(self, stage: Stage, fraction: float, records: int = 0) -> None:
            told.append((stage, fraction, records))

    outcome, _ = await execute(customer.document(**DAYS), Heard())
    assert told == sorted(told, key=lambda each: (list(Stage).index(each[0]), each[1]))
    reports = REPORTS[customer.provider]
    assert len([each for each in told if each[0] is Stage.EXTRACT]) == 1 + reports
    assert told[-1] == (Stage.LOAD, 1.0, outcome.records_processed)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(r"POST .*/datasets/\w+/tables", "_staging", marks=pytest.mark.full),
        (r"PUT .*upload", ""),
        pytest.param(r"POST .*/jobs", r"FROM .*_staging_", marks=pytest.mark.full),
        pytest.param(r"POST .*/jobs", "INSERT INTO .*_pipelines_locks", marks=pytest.mark.full),
        (r"POST .*/jobs", "BEGIN TRANSACTION"),
    ],
)
async def test_stopped_at_any_stage_it_leaves_the_days_and_the_next_run_brings_them(
    customer: Customer, proxy: FaultProxy, path: str, body: str
) -> None:
    fault = proxy.add(path, body=body, hold=True)
    document = customer.document(**DAYS)
    task = asyncio.ensure_future(execute(document, Progress()))
    assert await asyncio.to_thread(fault.reached.wait, 60)
    task.cancel()
    fault.released.set()
    _, code = await task
    assert code in (ExitCode.TERMINATED, ExitCode.OK)
    if code is ExitCode.TERMINATED:
        assert f"{customer.provider}_costs" not in customer.tables() or customer.rows("costs") == []
    assert {name for name in customer.tables() if "staging" in name} == set()
    check(customer, await succeeds(document))


async def test_stopped_while_it_asks(customer: Customer) -> None:
    customer.simulators.plan(latency_ms=20_000)
    document = customer.document(**DAYS)
    task = asyncio.ensure_future(execute(document, Progress()))

    async def asked() -> bool:
        return bool(customer.simulators.requests)

    await eventually(asked)
    task.cancel()
    _, code = await task
    assert code is ExitCode.TERMINATED
    customer.simulators.plan()
    check(customer, await succeeds(document))
    assert {name for name in customer.tables() if "staging" in name} == set()


KILLED_AT = {
    "making the staging tables": (r"POST .*/datasets/\w+/tables", "_staging"),
    "loading them": (r"PUT .*upload", ""),
    "counting what is staged": (r"POST .*/jobs", r"FROM .*_staging_"),
    "making the targets": (r"POST .*/datasets/\w+/tables", "_costs"),
    "locking them": (r"POST .*/jobs", "INSERT INTO .*_pipelines_locks"),
    "publishing": (r"POST .*/jobs", "BEGIN TRANSACTION"),
    "asking what was published": (r"POST .*/jobs", r"SUM\(row_count\)"),
    "making the view": (r"POST .*/jobs", "CREATE OR REPLACE VIEW"),
}


SMOKE = {"loading them", "publishing", "asking what was published"}


@pytest.mark.parametrize("stage", in_smoke(KILLED_AT, SMOKE))
async def test_killed_at_any_stage_the_next_attempt_gives_the_same_rows(
    customer: Customer, proxy: FaultProxy, tmp_path: Path, stage: str
) -> None:
    path, body = KILLED_AT[stage]
    fault = proxy.add(path, body=body, hold=True)
    document = customer.document(**DAYS)
    assert await kill_at(fault, document, tmp_path)
    outcome = await succeeds(document)
    check(customer, outcome)
    assert customer.tables() >= {f"{customer.provider}_costs", f"{customer.provider}_usage", *OURS}
