"""Whatever BigQuery refuses, loses or delays: the target's days are replaced whole or stay, and the error says why."""

import asyncio
import signal
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.billing import Billing, row
from support.fault_proxy import Fault, FaultProxy, bigquery_proxy, error
from support.runner_process import start

pytestmark = pytest.mark.usefixtures("quick_retries")

DAY = "2026-11-01"
_DENIED = error(403, "accessDenied", "Access Denied: the caller does not have permission")
_CONFLICT = {"reason": "invalidQuery", "message": "Transaction is aborted due to concurrent update against table costs"}


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    made = Billing(bigquery_settings)
    made.make_source([row(DAY, "1.0"), row(DAY, "2.0")])
    return made


@pytest.fixture
def proxy(billing: Billing) -> Iterator[FaultProxy]:
    """A proxy that the runs of this test go through; `billing` itself goes straight to the stand-in."""
    with bigquery_proxy() as made:
        yield made


async def outcome_of(billing: Billing, *, read: str | None = None) -> tuple[Outcome, ExitCode]:
    return await execute(billing.document(read=read, date=DAY), Progress())


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        (r"GET .*/tables/export", ("source table", "permission denied", "bigquery.tables.getData", "Data Viewer")),
        (r"GET .*/datasets/org\w+\?", ("dataset", "permission denied", "bigquery.datasets.get")),
        (r"POST .*/datasets/org\w+/tables", ("making table", "permission denied", "bigquery.tables.create")),
    ],
)
async def test_a_missing_right_is_named(billing: Billing, proxy: FaultProxy, path: str, texts: tuple[str, ...]) -> None:
    proxy.add(path, times=None, status=403, answer=_DENIED)
    outcome, code = await outcome_of(billing)
    assert code is ExitCode.CONFIG
    for text in texts:
        assert text in (outcome.error or "")
    assert "costs" not in billing.tables()


@pytest.mark.parametrize(
    ("status", "reason"), [(503, "backendError"), (429, "rateLimitExceeded"), (403, "rateLimitExceeded")]
)
async def test_what_passes_is_tried_again(billing: Billing, proxy: FaultProxy, status: int, reason: str) -> None:
    fault = proxy.add(r"POST .*/jobs", times=1, status=status, answer=error(status, reason, "not now"))
    assert (await outcome_of(billing))[1] is ExitCode.OK
    assert fault.times == 0
    assert billing.costs() == [Decimal(1), Decimal(2)]


@pytest.mark.parametrize("statement", ["CREATE OR REPLACE TABLE .*_staging", "BEGIN TRANSACTION"])
async def test_a_lost_answer_is_fetched_not_repeated(billing: Billing, proxy: FaultProxy, statement: str) -> None:
    fault = proxy.add(r"POST .*/jobs", body=statement, lose=True)
    assert (await outcome_of(billing))[1] is ExitCode.OK
    assert fault.times == 0
    assert billing.costs() == [Decimal(1), Decimal(2)]


async def test_a_transaction_cancelled_by_another_is_tried_again(billing: Billing, proxy: FaultProxy) -> None:
    answer = {
        "jobReference": {"projectId": "local-dev", "jobId": "j", "location": "US"},
        "configuration": {"query": {"query": ""}, "jobType": "QUERY"},
        "status": {"state": "DONE", "errorResult": _CONFLICT, "errors": [_CONFLICT]},
    }
    fault = proxy.add(r"POST .*/jobs", body="BEGIN TRANSACTION", status=200, answer=answer)
    assert (await outcome_of(billing))[1] is ExitCode.OK
    assert fault.times == 0
    assert billing.costs() == [Decimal(1), Decimal(2)]


async def test_bigquery_away_is_transient(billing: Billing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("PIPELINES_BIGQUERY_RETRY_SECONDS", "0.1")
    outcome, code = await outcome_of(billing)
    assert code is ExitCode.TRANSIENT
    assert (outcome.error or "").startswith("ExternalBQExtractor: dataset ")


async def stopped_at(billing: Billing, fault: Fault, *, read: str | None, release: bool) -> tuple[Outcome, ExitCode]:
    """Run until the fault is reached, stop the run as SIGTERM would, and wait for its end."""
    task = asyncio.ensure_future(outcome_of(billing, read=read))
    assert await asyncio.to_thread(fault.reached.wait, 60)
    task.cancel()
    if release:
        fault.released.set()
    return await asyncio.wait_for(task, 20)


@pytest.mark.parametrize(
    ("read", "path", "body"),
    [
        ("query", r"POST .*/jobs", r"COUNT\(\*\) AS row_count"),
        ("query", r"POST .*/jobs", "CREATE OR REPLACE TABLE .*_staging"),
        ("query", r"POST .*/jobs", r"FROM .*\._staging_\w+. AS s"),
        ("storage", r"PUT .*upload", ""),
        ("storage", r"POST .*/jobs", r"FROM .*\._staging_\w+. AS s"),
    ],
)
async def test_stopped_on_the_way_leaves_the_target_and_nothing_else(
    billing: Billing, proxy: FaultProxy, read: str, path: str, body: str
) -> None:
    billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP, cost NUMERIC)")
    billing.sql(f"INSERT INTO `{billing.target}` VALUES (TIMESTAMP '{DAY}', NUMERIC '5')")
    fault = proxy.add(path, body=body, hold=True)
    outcome, code = await stopped_at(billing, fault, read=read, release=True)
    assert (outcome.status, code) == ("terminated", ExitCode.TERMINATED)
    assert billing.costs() == [Decimal(5)]
    assert billing.tables() == {"costs"}


async def test_stopped_while_publishing_is_success_if_it_was_committed(billing: Billing, proxy: FaultProxy) -> None:
    fault = proxy.add(r"POST .*/jobs", body="BEGIN TRANSACTION", hold=True)
    outcome, code = await stopped_at(billing, fault, read=None, release=True)
    assert (outcome.status, outcome.records_processed, code) == ("succeeded", 2, ExitCode.OK)
    assert billing.costs() == [Decimal(1), Decimal(2)]
    assert {name for name in billing.tables() if name.startswith("_staging")} == set()


async def test_stopped_before_the_transaction_began_is_terminated(billing: Billing, proxy: FaultProxy) -> None:
    fault = proxy.add(r"POST .*/jobs", body="BEGIN TRANSACTION", hold=True)
    outcome, code = await stopped_at(billing, fault, read=None, release=False)
    assert (outcome.status, code) == ("terminated", ExitCode.TERMINATED)
    assert billing.costs() == []


async def test_a_failed_run_leaves_no_staging(billing: Billing, proxy: FaultProxy) -> None:
    proxy.add(r"POST .*/jobs", body="BEGIN TRANSACTION", times=None, status=403, answer=_DENIED)
    outcome, code = await outcome_of(billing)
    assert code is ExitCode.CONFIG
    assert "bigquery.tables.updateData" in (outcome.error or "")
    assert billing.costs() == []
    assert billing.tables() == {"costs", "_pipelines_commits", "_pipelines_locks", "_pipelines_manifest"}


async def test_sigterm_in_the_middle_of_the_network_is_143(billing: Billing, proxy: FaultProxy, tmp_path: Path) -> None:
    fault = proxy.add(r"PUT .*upload", hold=True)
    process = await start(billing.document(read="storage", date=DAY), tmp_path, stderr=asyncio.subprocess.PIPE)
    assert await asyncio.to_thread(fault.reached.wait, 60)
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 12)
    assert process.returncode == 143, errors
    outcome = Outcome.from_message((tmp_path / "log").read_text())
    assert outcome is not None
    assert outcome.status == "terminated"
    assert billing.tables() == set()
