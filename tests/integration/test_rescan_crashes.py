"""Refused, stopped or killed at any step, a rescan changes nothing or all, and the next attempt does the rest."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.billing import Billing, row
from support.fault_proxy import FaultProxy, bigquery_proxy, error
from support.marks import in_smoke
from support.rescans import DAYS, copied_by, document, rescan, same_as_source, ten_days
from support.runner_process import kill_at

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return ten_days(bigquery_settings)


@pytest.fixture
def proxy(billing: Billing) -> Iterator[FaultProxy]:
    """A proxy that the runs of this test go through; `billing` itself goes straight to the stand-in."""
    with bigquery_proxy() as made:
        yield made


STEPS = {
    "the clock": r"SELECT CURRENT_TIMESTAMP",
    "the manifest": r"FROM .*_pipelines_manifest",
    "the survey": r"UNIX_MICROS.*\.export",
    "the copy": "CREATE OR REPLACE TABLE .*_staging",
    "the check": r"UNIX_MICROS.*\._staging_",
    "the lock": "INSERT INTO .*_pipelines_locks",
    "the transaction": "BEGIN TRANSACTION",
    "the marker": r"SELECT SUM\(row_count\).*_pipelines_commits",
}
# The smoke is of the steps that change something, and of the one that decides what.
SMOKE = {"the survey", "the transaction", "the marker"}
EACH = in_smoke(STEPS, SMOKE)


@pytest.mark.parametrize("step", EACH)
@pytest.mark.parametrize("first", [pytest.param(True, marks=pytest.mark.full), False], ids=["first copy", "second"])
async def test_stopped_at_any_step_and_run_again_leaves_the_same_rows(
    billing: Billing, proxy: FaultProxy, step: str, first: bool
) -> None:
    if not first:
        await rescan(billing)
        billing.add([row(DAYS[1], "2.5"), row(DAYS[6], "-1.5")])
    fault = proxy.add(r"POST .*/jobs", body=STEPS[step], hold=True)
    run = document(billing)
    task = asyncio.ensure_future(execute(run, Progress()))
    waited = asyncio.ensure_future(asyncio.to_thread(fault.reached.wait, 20))
    await asyncio.wait({task, waited}, return_when=asyncio.FIRST_COMPLETED)
    if fault.reached.is_set():
        task.cancel()
        await asyncio.sleep(0)
    fault.reached.set()
    fault.released.set()
    await asyncio.wait_for(task, 20)
    outcome, code = await execute(run, Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    assert same_as_source(billing)
    assert await rescan(billing) == 0
    assert {name for name in billing.tables() if name.startswith("_staging")} == set()


@pytest.mark.parametrize("step", EACH)
async def test_refused_at_any_step_changes_nothing_and_the_next_run_copies(
    billing: Billing, proxy: FaultProxy, step: str
) -> None:
    await rescan(billing)
    billing.add([row(DAYS[1], "2.5")])
    denied = error(403, "accessDenied", "Access Denied: the caller does not have permission")
    fault = proxy.add(r"POST .*/jobs", body=STEPS[step], status=403, answer=denied)
    outcome, code = await execute(document(billing), Progress())
    assert fault.reached.is_set()
    assert (code, "permission denied" in str(outcome.error)) == (ExitCode.CONFIG, True)
    await rescan(billing)
    assert same_as_source(billing)
    assert await rescan(billing) == 0


async def test_the_manifest_of_a_transaction_that_failed_is_rolled_back(billing: Billing, proxy: FaultProxy) -> None:
    await rescan(billing)
    billing.add([row(DAYS[1], "2.5")])
    run = document(billing)
    publish, outcome = Warehouse.query, Outcome(status="failed")

    async def broken(self: Warehouse, step: str, sql: str, **rest: Any) -> Any:
        # between the manifest's rows and the marker
        sql = sql.replace("COMMIT TRANSACTION;", "SELECT ERROR('broken');\nCOMMIT TRANSACTION;")
        return await publish(self, step, sql, **rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Warehouse, "query", broken)
        outcome, code = await execute(run, Progress())
    assert (outcome.status, code) == ("failed", ExitCode.DATA)
    assert copied_by(billing, run.run_id) == set()
    assert await rescan(billing) == 2


KILLED_AT = STEPS | {"making the tables": ""}


@pytest.mark.parametrize("step", in_smoke(KILLED_AT, SMOKE))
@pytest.mark.parametrize("first", [pytest.param(True, marks=pytest.mark.full), False], ids=["first copy", "second"])
async def test_killed_at_any_step_the_next_attempt_gives_the_same_rows(
    billing: Billing, proxy: FaultProxy, tmp_path: Path, step: str, first: bool
) -> None:
    if not first:
        await rescan(billing)
        billing.add([row(DAYS[1], "2.5"), row(DAYS[6], "-1.5")])
        billing.sql(f"DROP TABLE IF EXISTS `{billing.dataset}._pipelines_locks`")
    path = r"POST .*/datasets/\w+/tables" if step == "making the tables" else r"POST .*/jobs"
    fault = proxy.add(path, body=KILLED_AT[step], hold=True)
    run = document(billing)
    reached = await kill_at(fault, run, tmp_path)
    # at first there is no manifest to ask
    assert reached or (first and step == "the manifest")
    outcome, code = await execute(run, Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    assert same_as_source(billing)
    assert await rescan(billing) == 0
