"""A rescan copies the days that have changed at the source since they were copied, and no others."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.cloud import bigquery as google
from google.cloud.bigquery_storage_v1 import BigQueryReadClient

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_local.services.bigquery import BigQuery
from pipeline_runner.bigquery import daily
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.execution import execute
from pipeline_runner.processors.gcp.external_bq_extractor import ExternalBQExtractor
from pipeline_runner.progress import Progress
from pipeline_runner.settings import CredentialSettings
from support.billing import SCHEMA, Billing, row
from support.fault_proxy import FaultProxy, error, fault_proxy

DAYS = tuple(f"2026-11-{number:02}" for number in range(1, 11))
FIRST, LAST = DAYS[0], DAYS[-1]
CREDIT = "[STRUCT('promo' AS name, -0.1 AS amount), STRUCT('none' AS name, NULL AS amount)]"
# The same row, exported later.
LATER = f"TIMESTAMP '{LAST} 23:30:00+00'"


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    """Ten days, of which the third and the fourth have no rows."""
    made = Billing(bigquery_settings)
    made.make_source(row(day, "0.1 + 0.2", credits=CREDIT) for day in DAYS if day not in DAYS[2:4])
    return made


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The jobs that runs make from now on."""
    seen: list[str] = []
    job = Warehouse._job

    async def noted(self: Warehouse, name: str, *rest: Any) -> Any:
        seen.append(name)
        return await job(self, name, *rest)

    monkeypatch.setattr(Warehouse, "_job", noted)
    return seen


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_runner.bigquery.warehouse.random.uniform", lambda *_: 0.01)


def document(billing: Billing, run_id: str = "", *, read: str | None = None, days: int = 10) -> RunDocument:
    """A run as a schedule makes it: nobody has named a day."""
    made = billing.document(run_id, read=read, date=LAST)
    made.config["source"]["rescan_days"] = days
    return made


async def rescan(billing: Billing, *, read: str | None = None) -> int:
    """Run, expect success, and say how many rows were copied."""
    outcome, code = await execute(document(billing, read=read), Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    return outcome.records_processed


def same_as_source(billing: Billing) -> bool:
    """Whether the target has each day's rows as they stand at the source, told without the code that copies them."""
    day = "CAST(usage_start_time AS DATE) AS day, COUNT(*) AS n"
    there = billing.sql(f"SELECT {day}, SUM(cost) AS cost FROM `{billing.source}` GROUP BY day ORDER BY day")
    here = billing.sql(f"SELECT {day}, SUM(cost) AS cost FROM `{billing.target}` GROUP BY day ORDER BY day")
    rounded = [{**each, "cost": round(float(each["cost"]), 6)} for each in there]
    return rounded == [{**each, "cost": round(float(each["cost"]), 6)} for each in here]


def copied_by(billing: Billing, run_id: str) -> set[str]:
    """The days that the manifest says a run has copied."""
    statement = f"SELECT day FROM `{billing.dataset}._pipelines_manifest` WHERE run_id = '{run_id}'"
    return {str(each["day"]) for each in billing.sql(statement)}


@pytest.mark.parametrize("read", ["query", "storage"])
async def test_ten_unchanged_days_are_looked_at_and_nothing_is_made(
    billing: Billing, steps: list[str], read: str
) -> None:
    assert await rescan(billing, read=read) == 8
    before = billing.rows()
    manifest = billing.sql(f"SELECT * FROM `{billing.dataset}._pipelines_manifest` ORDER BY day")
    assert [(str(each["day"]), each["row_count"]) for each in manifest] == [
        (day, 0 if day in DAYS[2:4] else 1) for day in DAYS
    ]
    assert manifest[0]["sums"] == '{"cost": "0.300000000", "credits.amount": "-0.100000000"}'
    assert manifest[0]["max_export_time"].hour == 23
    steps.clear()
    assert await rescan(billing, read=read) == 0
    assert sorted(steps) == ["clock", "manifest", "marker_before", "survey"]
    assert billing.rows() == before
    assert billing.sql(f"SELECT COUNT(*) AS n FROM `{billing.dataset}._pipelines_commits`") == [{"n": 1}]
    assert {name for name in billing.tables() if name.startswith("_staging")} == set()


def at(day: str) -> str:
    """The rows of a day."""
    return f"usage_start_time = TIMESTAMP '{day} 12:00:00+00'"


CHANGES = {
    "late rows": ([row(DAYS[1], "2.5"), row(DAYS[6], "2.5")], "", {DAYS[1], DAYS[6]}),
    "a correction": ([row(DAYS[4], "-0.3")], "", {DAYS[4]}),
    "an equal row": ([row(DAYS[4], "0.1 + 0.2", credits=CREDIT)], "", {DAYS[4]}),
    "the first rows of a day": ([row(DAYS[2], "1.0")], "", {DAYS[2]}),
    "neighbours": ([row(DAYS[4], "1.0"), row(DAYS[5], "1.0"), row(DAYS[8], "1.0")], "", {DAYS[4], DAYS[5], DAYS[8]}),
    "rows moved to another day": (
        [],
        f"UPDATE `{{}}` SET usage_start_time = TIMESTAMP '{DAYS[8]} 01:00' WHERE {at(DAYS[1])}",
        {DAYS[1], DAYS[8]},
    ),
    "an emptied day": ([], f"DELETE FROM `{{}}` WHERE usage_start_time = TIMESTAMP '{DAYS[5]} 12:00:00+00'", {DAYS[5]}),
    "an amount, in place": (
        [],
        f"UPDATE `{{}}` SET cost = 0.31 WHERE usage_start_time = TIMESTAMP '{DAYS[5]} 12:00:00+00'",
        {DAYS[5]},
    ),
    "a credit, in place": (
        [],
        f"UPDATE `{{}}` SET credits = [STRUCT('promo' AS name, -0.2 AS amount)] WHERE {at(DAYS[5])}",
        {DAYS[5]},
    ),
    "the time of its export": (
        [],
        f"UPDATE `{{}}` SET export_time = {LATER} WHERE usage_start_time = TIMESTAMP '{DAYS[5]} 12:00:00+00'",
        {DAYS[5]},
    ),
    "before the window": ([row("2026-10-31", "1.0")], "", set()),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_changed_is_copied_and_nothing_else(billing: Billing, change: str) -> None:
    rows, statement, days = CHANGES[change]
    await rescan(billing)
    billing.add(rows)
    if statement:
        billing.sql(statement.format(billing.source))
    run = document(billing)
    outcome, code = await execute(run, Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    assert copied_by(billing, run.run_id) == days
    assert outcome.records_processed == sum(
        each["n"]
        for each in billing.sql(f"SELECT CAST(usage_start_time AS STRING) AS t, 1 AS n FROM `{billing.source}`")
        if each["t"][:10] in days
    )
    billing.sql(f"DELETE FROM `{billing.source}` WHERE usage_start_time < TIMESTAMP '{FIRST}'")
    assert same_as_source(billing)
    assert await rescan(billing) == 0


@pytest.mark.parametrize("read", ["query", "storage"])
async def test_days_apart_are_replaced_by_one_transaction(billing: Billing, read: str) -> None:
    await rescan(billing, read=read)
    billing.add([row(DAYS[1], "1.0"), row(DAYS[2], "1.0"), row(DAYS[7], "1.0")])
    run = document(billing, read=read)
    assert (await execute(run, Progress()))[1] is ExitCode.OK
    windows = billing.sql(
        f"SELECT window_start, window_end FROM `{billing.dataset}._pipelines_commits` "
        f"WHERE run_id = '{run.run_id}' ORDER BY window_start"
    )
    assert [tuple(map(str, each.values())) for each in windows] == [(DAYS[1], DAYS[2]), (DAYS[7], DAYS[7])]
    assert same_as_source(billing)


async def test_a_day_that_stood_before_there_was_a_manifest_is_emptied(billing: Billing) -> None:
    billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP, cost NUMERIC(38, 9))")
    billing.sql(f"INSERT INTO `{billing.target}` VALUES (TIMESTAMP '{DAYS[2]}', 5), (TIMESTAMP '2026-10-31', 6)")
    assert await rescan(billing) == 8
    assert billing.costs() == [Decimal(6), *[Decimal("0.3")] * 8]


async def test_named_days_are_copied_whatever_is_known(billing: Billing) -> None:
    await rescan(billing)
    billing.sql(f"UPDATE `{billing.target}` SET cost = 7 WHERE cost IS NOT NULL")
    # the manifest tells of the source, so a change by hand isn't noticed
    assert await rescan(billing) == 0
    named = billing.document(start_date=FIRST, end_date=DAYS[4])
    named.config["source"]["rescan_days"] = 10
    outcome, code = await execute(named, Progress())
    assert (outcome.records_processed, code) == (3, ExitCode.OK)
    assert copied_by(billing, named.run_id) == set(DAYS[:5])
    day = billing.document(date=DAYS[5])
    assert (await execute(day, Progress()))[0].records_processed == 1
    assert billing.costs() == [*[Decimal("0.3")] * 4, *[Decimal(7)] * 4]
    assert await rescan(billing) == 0


def add_column(billing: Billing, name: str) -> None:
    table = billing.client.get_table(name)
    # the stand-in's two sides don't know of each other here, and only a change of rows makes a snapshot
    billing.sql(f"ALTER TABLE `{name}` ADD COLUMN seller_name STRING")
    billing.sql(f"UPDATE `{name}` SET seller_name = NULL WHERE TRUE")
    table.schema = [*table.schema, google.SchemaField("seller_name", "STRING")]
    billing.client.update_table(table, ["schema"])


@pytest.mark.parametrize("what", ["another source", "a new column", "a new target", "a column of the target"])
async def test_what_the_manifest_does_not_tell_of_is_copied_again(billing: Billing, what: str) -> None:
    await rescan(billing)
    if what == "another source":
        billing.source = f"{billing.source_dataset}.renamed"
        billing.make_source(row(day, "0.1 + 0.2", credits=CREDIT) for day in DAYS if day not in DAYS[2:4])
    elif what == "a new column":
        add_column(billing, billing.source)
    elif what == "a new target":
        billing.sql(f"DROP TABLE `{billing.target}`")
        billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP)")
    else:
        add_column(billing, billing.target)
    assert await rescan(billing) == 8
    assert same_as_source(billing)
    assert await rescan(billing) == 0


async def test_a_view_is_rescanned(billing: Billing) -> None:
    view = f"{billing.source_dataset}.view"
    billing.sql(f"CREATE OR REPLACE VIEW `{view}` AS SELECT usage_start_time, cost FROM `{billing.source}`")
    table, billing.source = billing.source, view
    assert [await rescan(billing), await rescan(billing)] == [8, 0]
    billing.source = table
    billing.add([row(DAYS[2], "1.0")])
    billing.source = view
    assert await rescan(billing) == 1


async def test_a_preview_says_which_days_it_would_copy(billing: Billing) -> None:
    await rescan(billing)

    async def preview() -> dict[str, str]:
        run = document(billing)
        return await ExternalBQExtractor(run.config, run.org_slug, run.run_id).preview(dict(run.parameters))

    whole = f"of the days {FIRST}..{LAST}, which stay as they are"
    assert await preview() == {"unchanged": f"10 {whole}"}
    billing.add([row(DAYS[2], "1.0"), row(DAYS[6], "1.0")])
    told = await preview()
    assert told["days"] == f"{DAYS[2]}, {DAYS[6]} (UTC, by usage_start_time)"
    assert told["rows"].startswith("3,")
    assert told["unchanged"] == f"8 {whole}"


@pytest.fixture
def proxy(bigquery: BigQuery, billing: Billing, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with fault_proxy(bigquery.environment["BIGQUERY_EMULATOR_HOST"]) as made:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", made.url)
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
EACH = [pytest.param(step, marks=() if step in SMOKE else pytest.mark.full) for step in STEPS]


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


async def test_a_source_without_export_times_is_told_by_rows_and_sums(bigquery_settings: BigQuerySettings) -> None:
    made = Billing(bigquery_settings)
    made.make_source(schema=[each for each in SCHEMA if each["name"] in ("usage_start_time", "cost")])
    made.sql(f"INSERT INTO `{made.source}` (usage_start_time, cost) VALUES (TIMESTAMP '{LAST}', 1.5)")
    assert [await rescan(made), await rescan(made)] == [1, 0]
    made.sql(f"UPDATE `{made.source}` SET cost = 2.5 WHERE cost = 1.5")
    assert await rescan(made) == 1


async def test_the_organizations_own_account_reads_by_the_storage_api(
    billing: Billing, steps: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = {
        "type": "service_account",
        "project_id": "customer-jobs",
        "client_email": "a@b",
        "private_key": made.decode(),
    }
    (tmp_path / "service_account.json").write_text(json.dumps(key))
    credentials = CredentialSettings(directory=tmp_path)
    parents: list[str] = []
    create = BigQueryReadClient.create_read_session

    def noted(self: BigQueryReadClient, **request: Any) -> Any:
        parents.append(request["parent"])
        return create(self, **request)

    monkeypatch.setattr(BigQueryReadClient, "create_read_session", noted)
    outcome, code = await execute(document(billing), Progress(), credentials=credentials)
    assert (outcome.error, outcome.records_processed, code) == (None, 8, ExitCode.OK)
    assert parents == ["projects/customer-jobs"]
    assert "load1" in steps
    assert same_as_source(billing)
    outcome, code = await execute(document(billing, read="query"), Progress(), credentials=credentials)
    assert code is ExitCode.CONFIG
    assert "read with the organization's own service account" in str(outcome.error)
    (tmp_path / "service_account.json").write_text(json.dumps({**key, "private_key": "sEcReT-of-acme"}))
    outcome, code = await execute(document(billing), Progress(), credentials=credentials)
    assert code is ExitCode.CONFIG
    assert "sEcReT" not in str(outcome.error)


async def test_checks_are_of_each_day_by_itself(billing: Billing) -> None:
    run = document(billing)
    run.config["checks"] = {
        "row_count": {"min": 1},
        "sum": {"cost": {"max": "0.3"}},
        "not_null": ["billing_account_id"],
    }
    outcome, code = await execute(run, Progress())
    assert code is ExitCode.DATA
    # the days with rows can't hide those without, and three tenths a day aren't too much because there are many days
    assert str(outcome.error).endswith(
        f"their checks: checks.row_count: expected at least 1, found 0 on {DAYS[2]}; "
        f"checks.row_count: expected at least 1, found 0 on {DAYS[3]}"
    )
    assert "costs" not in billing.tables()
    await rescan(billing)
    billing.sql(f"UPDATE `{billing.source}` SET cost = 0.31, billing_account_id = NULL WHERE {at(DAYS[5])}")
    billing.sql(f"DELETE FROM `{billing.source}` WHERE {at(DAYS[7])}")
    outcome, code = await execute(run, Progress())
    assert code is ExitCode.DATA
    assert str(outcome.error).endswith(
        f"not_null: expected no NULL in billing_account_id, found 1 in 1 rows on {DAYS[5]}; "
        f"checks.sum.cost: expected at most 0.3, found 0.31 on {DAYS[5]}; "
        f"checks.row_count: expected at least 1, found 0 on {DAYS[7]}"
    )


async def test_days_whose_rows_the_target_lost_are_copied_again(billing: Billing) -> None:
    await rescan(billing)
    billing.sql(f"DELETE FROM `{billing.target}` WHERE {at(DAYS[1])}")
    billing.sql(
        f"INSERT INTO `{billing.target}` (usage_start_time, cost) VALUES "
        f"(TIMESTAMP '{DAYS[2]} 01:00:00+00', 5), (TIMESTAMP '{DAYS[6]} 01:00:00+00', 5)"
    )
    run = document(billing)
    assert (await execute(run, Progress()))[1] is ExitCode.OK
    assert copied_by(billing, run.run_id) == {DAYS[1], DAYS[2], DAYS[6]}
    assert same_as_source(billing)
    assert await rescan(billing) == 0


async def test_missed_days_are_caught_up_and_unchanged_ones_among_them_are_not_copied(billing: Billing) -> None:
    async def run_of(day: str, days: int, most: int | None = None) -> tuple[Outcome, ExitCode, str]:
        made = billing.document(date=day)
        made.config["source"] |= {"rescan_days": days} | ({} if most is None else {"catch_up_days": most})
        return *await execute(made, Progress()), made.run_id

    await run_of(DAYS[1], 2)
    _, code, run_id = await run_of(DAYS[8], 2, 0)
    assert (code, copied_by(billing, run_id)) == (ExitCode.OK, {DAYS[7], DAYS[8]})
    made = billing.document(date=LAST)
    made.config["source"] |= {"rescan_days": 2}
    told = await ExternalBQExtractor(made.config, made.org_slug, made.run_id).preview(dict(made.parameters))
    assert told["days before"] == (
        f"{DAYS[2]}..{DAYS[6]} had been missed and are caught up and {DAYS[1]} are read again, as corrections of them "
        "fell into a pause"
    )
    assert told["days"] == f"{DAYS[2]}..{DAYS[6]}, {LAST} (UTC, by usage_start_time)"
    outcome, code, run_id = await run_of(LAST, 2)
    assert (outcome.error, code) == (None, ExitCode.OK)
    assert copied_by(billing, run_id) == {*DAYS[2:7], LAST}
    assert same_as_source(billing)
    # days that are known to be empty weren't missed
    assert await rescan(billing) == 0


async def test_a_day_long_ago_makes_the_days_since_then_missed_ones_up_to_the_limit(billing: Billing) -> None:
    await execute(billing.document(date="2026-01-01"), Progress())
    made = billing.document(date=LAST)
    made.config["source"] |= {"rescan_days": 1, "catch_up_days": 4}
    assert (await execute(made, Progress()))[1] is ExitCode.OK
    assert copied_by(billing, made.run_id) == set(DAYS[6:])


async def test_the_cost_view_is_seen_to_even_where_nothing_has_changed(
    billing: Billing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rescan(billing)
    seen: list[str] = []

    async def ensured(_: Warehouse, dataset: str, location: str) -> bool:
        seen.append(f"{dataset} ({location})")
        return True

    monkeypatch.setattr("pipeline_runner.processors.gcp.external_bq_extractor.ensure_focus_view", ensured)
    assert await rescan(billing) == 0
    assert seen == [f"{billing.dataset} (US)"]


async def test_a_failure_while_days_are_caught_up_tells_the_way_out(billing: Billing) -> None:
    await execute(billing.document(date=DAYS[0]), Progress())
    made = billing.document(date=LAST)
    made.config["checks"] = {"row_count": {"min": 1}}
    made.config["source"] |= {"rescan_days": 1}
    outcome, code = await execute(made, Progress())
    assert code is ExitCode.DATA
    assert str(outcome.error).endswith(
        f"(days {DAYS[1]}..{DAYS[8]} had been missed and are caught up; source.catch_up_days: 0 leaves them)"
    )
    made.config["source"] |= {"catch_up_days": 0}
    assert (await execute(made, Progress()))[1] is ExitCode.OK


async def test_a_source_that_has_no_rows_any_more_empties_nothing_unasked(billing: Billing) -> None:
    await rescan(billing)
    billing.sql(f"DELETE FROM `{billing.source}` WHERE TRUE")
    outcome, code = await execute(document(billing), Progress())
    assert code is ExitCode.DATA
    assert (
        f"nothing was published: {billing.target} has 8 rows for {FIRST}..{LAST}, and the source now has none at all; "
        "if that is right, a run that names the days"
    ) in str(outcome.error)
    assert len(billing.costs()) == 8
    named = billing.document(start_date=FIRST, end_date=LAST)
    assert (await execute(named, Progress()))[1] is ExitCode.OK
    assert billing.costs() == []
    # what is empty already stays so without a word
    assert await rescan(billing) == 0


@pytest.mark.parametrize("named", [False, True])
async def test_rows_without_a_time_are_told(billing: Billing, named: bool, capsys: pytest.CaptureFixture[str]) -> None:
    billing.sql(f"INSERT INTO `{billing.source}` (billing_account_id, cost) VALUES ('account', 1.0), ('account', 2.0)")
    run = billing.document(start_date=FIRST, end_date=LAST) if named else document(billing)
    outcome, code = await execute(run, Progress())
    assert (outcome.records_processed, code) == (8, ExitCode.OK)
    assert "rows of the source have no time, and so belong to no day" in capsys.readouterr().out
    assert await rescan(billing) == 0


@pytest.mark.parametrize("read", ["query", "storage"])
async def test_a_wider_target_gets_the_same_decimals(billing: Billing, read: str) -> None:
    billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP, cost BIGNUMERIC)")
    billing.add([row(LAST, "12345678901.1")])
    assert await rescan(billing, read=read) == 9
    assert billing.costs() == [*[Decimal("0.3")] * 8, Decimal("12345678901.1")]


async def test_the_storage_api_reads_as_of_the_moment_of_the_look(
    billing: Billing, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Any] = []
    create = BigQueryReadClient.create_read_session

    def noted(self: BigQueryReadClient, **request: Any) -> Any:
        sessions.append(request["read_session"])
        return create(self, **request)

    monkeypatch.setattr(BigQueryReadClient, "create_read_session", noted)
    await rescan(billing, read="storage")
    marker = billing.sql(f"SELECT read_at FROM `{billing.dataset}._pipelines_commits`")[0]
    assert [each.table_modifiers.snapshot_time for each in sessions] == [marker["read_at"]]


KILLED_AT = STEPS | {"making the tables": ""}


@pytest.mark.parametrize(
    "step", [pytest.param(step, marks=() if step in SMOKE else pytest.mark.full) for step in KILLED_AT]
)
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
    (tmp_path / "run.json").write_text(run.model_dump_json())
    variables = {
        "PIPELINES_RUN_DOCUMENT": str(tmp_path / "run.json"),
        "PIPELINES_TERMINATION_LOG": str(tmp_path / "log"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pipeline_runner", env=os.environ | variables, stderr=asyncio.subprocess.DEVNULL
    )
    waited = asyncio.ensure_future(asyncio.to_thread(fault.reached.wait, 60))
    ended = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({waited, ended}, return_when=asyncio.FIRST_COMPLETED)
        reached = fault.reached.is_set()
    finally:
        if process.returncode is None:
            process.kill()
        await ended
    # what was on its way when the runner died is never sent
    fault.swallow = True
    fault.reached.set()
    fault.released.set()
    await waited
    # at first there is no manifest to ask
    assert reached or (first and step == "the manifest")
    outcome, code = await execute(run, Progress())
    assert (outcome.error, code) == (None, ExitCode.OK)
    assert same_as_source(billing)
    assert await rescan(billing) == 0


def test_sums_reach_through_arrays_and_leave_out_what_is_no_amount(billing: Billing) -> None:
    def leaf(name: str, *, repeated: bool = False) -> Column:
        return Column(name, "FLOAT", repeated)

    inner = Column("credits", "RECORD", repeated=True, fields=(leaf("amount"), leaf("costs", repeated=True)))
    columns = (
        Column("t", "TIMESTAMP"),
        leaf("cost"),
        leaf("costs", repeated=True),
        Column("r", "RECORD", repeated=True, fields=(inner,)),
    )
    money = ("cost", "costs", "r.credits.amount", "r.credits.costs")
    values = "[STRUCT([STRUCT(0.5 AS amount, [1.5, 2.5] AS costs), STRUCT(NULL AS amount, [4.0] AS costs)] AS credits)]"
    rows = " UNION ALL ".join(
        f"SELECT TIMESTAMP '{DAYS[day]} {time}+00' AS t, {cost} AS cost, [0.1, 0.2] AS costs, {values} AS r"
        for day, time, cost in ((0, "00:00:00", "0.1"), (0, "23:59:59.999999", "0.2"), (1, "00:00:00", "NULL"))
    )
    found = daily.read(billing.sql(daily.statement(columns, columns[0], money, f"({rows}) AS s")), money)
    both = tuple(map(Decimal, ("0.3", "0.6", "1", "16")))
    one = tuple(map(Decimal, ("0", "0.3", "0.5", "8")))
    assert {str(day): (each.rows, each.newest, each.sums) for day, each in found.items()} == {
        DAYS[0]: (2, None, both),
        DAYS[1]: (1, None, one),
    }
    assert daily.total(found, money) == daily.Figures(3, None, tuple(Decimal(n) for n in ("0.3", "0.9", "1.5", "24")))
    assert daily.total({}, money) == daily.Figures.empty(money)
