"""A copy replaces its days whole, with the same rows by both ways, however often and whenever it runs."""

import asyncio
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress, Stage
from support.billing import SCHEMA, Billing, row
from support.runner_process import variables

WAYS = ("query", "storage")
DAY = "2026-11-01"


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return Billing(bigquery_settings)


async def run(document: RunDocument, progress: Progress | None = None) -> Outcome:
    """Execute and expect success."""
    outcome, code = await execute(document, progress or Progress())
    assert (outcome.status, outcome.error, code) == ("succeeded", None, ExitCode.OK)
    return outcome


@pytest.mark.parametrize("read", WAYS)
async def test_money_becomes_the_shortest_decimal_and_the_rest_stays(billing: Billing, read: str) -> None:
    nested = "[STRUCT('promo' AS name, -0.1 - 0.2 AS amount), STRUCT('none' AS name, NULL AS amount)]"
    project = "STRUCT('p1' AS id, [STRUCT('k2' AS key, 'v' AS value), STRUCT('k1' AS key, 'w' AS value)] AS labels)"
    billing.make_source(
        [
            row(DAY, "12345678901.1", credits=nested, project=project, time="00:00:00"),
            row(DAY, "0.1 + 0.2", time="01:00:00"),
            row(DAY, "1e-07", time="02:00:00"),
            row(DAY, "-0.0", time="03:00:00"),
            row(DAY, "NULL", time="04:00:00"),
            row(DAY, "5e-10", time="05:00:00"),
            row(DAY, "-1.00000000049", time="23:59:59.999999"),
            row("2026-11-02", "7.0", time="00:00:00"),
            row("2026-10-31", "8.0", time="23:59:59.999999"),
        ]
    )
    outcome = await run(billing.document(read=read, date=DAY))
    assert outcome.records_processed == 7
    rows = billing.rows(order="usage_start_time")
    assert [each["cost"] for each in rows] == [
        Decimal("12345678901.1"),
        Decimal("0.3"),
        Decimal("0.0000001"),
        Decimal(0),
        None,
        Decimal("0.000000001"),
        Decimal(-1),
    ]
    assert rows[0]["credits"] == [{"name": "promo", "amount": Decimal("-0.3")}, {"name": "none", "amount": None}]
    assert rows[0]["project"] == {"id": "p1", "labels": [{"key": "k2", "value": "v"}, {"key": "k1", "value": "w"}]}
    assert (rows[1]["credits"], rows[1]["project"], rows[1]["tags"]) == ([], None, ["a", "b"])
    assert rows[0]["currency_conversion_rate"] == 1.25
    assert {name for name in billing.tables() if name.startswith("_")} == {
        "_pipelines_commits",
        "_pipelines_locks",
        "_pipelines_manifest",
    }


async def test_both_ways_give_the_same_rows(billing: Billing) -> None:
    values = ["0.1", "1/3", "12345678.12345678", "123456789012.3456", "-2.5e-9", "1e20", "987654321.123456789"]
    billing.make_source(
        row(DAY, value, time=f"00:00:0{second}", credits=f"[STRUCT('c' AS name, {value} AS amount)]")
        for second, value in enumerate(values)
    )
    seen = []
    for read in WAYS:
        await run(billing.document(read=read, date=DAY))
        seen.append(billing.rows("* EXCEPT (run_id, loaded_at)"))
    assert seen[0] == seen[1]
    assert len(seen[0]) == len(values)


@pytest.mark.parametrize("read", WAYS)
async def test_a_day_run_again_takes_late_rows_and_keeps_legitimate_duplicates(billing: Billing, read: str) -> None:
    billing.make_source([row(DAY, "1.5"), row(DAY, "1.5"), row("2026-11-02", "9.0")])
    await run(billing.document(read=read, date=DAY))
    await run(billing.document(read=read, date=DAY))
    assert billing.costs() == [Decimal("1.5")] * 2
    billing.add([row(DAY, "0.25")])
    await run(billing.document(read=read, date=DAY))
    assert billing.costs() == [Decimal("0.25"), Decimal("1.5"), Decimal("1.5")]
    await run(billing.document(read=read, start_date=DAY, end_date="2026-11-02"))
    assert billing.costs() == [Decimal("0.25"), Decimal("1.5"), Decimal("1.5"), Decimal(9)]


@pytest.mark.parametrize("read", WAYS)
async def test_an_empty_day_empties_and_leaves_its_neighbours(billing: Billing, read: str) -> None:
    billing.make_source([row("2026-10-31", "1.0"), row(DAY, "2.0"), row("2026-11-02", "3.0")])
    await run(billing.document(read=read, start_date="2026-10-31", end_date="2026-11-02"))
    billing.sql(f"DELETE FROM `{billing.source}` WHERE cost = 2.0")
    outcome = await run(billing.document(read=read, date=DAY))
    assert outcome.records_processed == 0
    assert billing.costs() == [Decimal(1), Decimal(3)]


async def test_a_run_tried_again_finds_that_it_has_published(billing: Billing) -> None:
    billing.make_source([row(DAY, "1.0")])
    first = billing.document(date=DAY)
    await run(first)
    billing.add([row(DAY, "2.0")])
    outcome = await run(first)
    assert outcome.records_processed == 1
    assert billing.costs() == [Decimal(1)]


async def test_another_location_is_read_by_the_storage_api(bigquery_settings: BigQuerySettings) -> None:
    elsewhere = Billing(bigquery_settings, source_location="EU")
    elsewhere.make_source([row(DAY, "1.0")])
    await run(elsewhere.document(date=DAY))
    assert elsewhere.costs() == [Decimal(1)]
    outcome, code = await execute(elsewhere.document(read="query", date=DAY), Progress())
    assert code is ExitCode.CONFIG
    assert "source.read is query" in (outcome.error or "")


async def test_new_columns_are_added_and_lost_ones_stay(billing: Billing) -> None:
    billing.make_source([row(DAY, "1.0")])
    await run(billing.document(date=DAY))
    billing.client.delete_table(billing.source)
    added = ({"name": "seller_name", "type": "STRING"}, {"name": "cost_at_list", "type": "FLOAT"})
    billing.make_source(schema=[*(each for each in SCHEMA if each["name"] != "tags"), *added])
    names = "usage_start_time, cost, seller_name, cost_at_list"
    billing.sql(f"INSERT INTO `{billing.source}` ({names}) VALUES (TIMESTAMP '{DAY}', 1.0, 'someone', 0.123456789)")
    await run(billing.document(date=DAY))
    (copied,) = billing.rows()
    assert (copied["seller_name"], copied["cost_at_list"], copied["tags"]) == ("someone", Decimal("0.123456789"), [])


@pytest.mark.parametrize("read", WAYS)
async def test_a_targets_records_keep_their_fields_and_their_order(billing: Billing, read: str) -> None:
    billing.make_source([row(DAY, "1.5", credits="[STRUCT('promo' AS name, -0.1 AS amount)]")])
    columns = "usage_start_time TIMESTAMP, credits ARRAY<STRUCT<kind STRING, amount NUMERIC(38, 9), name STRING>>"
    billing.sql(f"CREATE TABLE `{billing.target}` ({columns})")
    await run(billing.document(read=read, date=DAY))
    (copied,) = billing.rows()
    assert copied["credits"] == [{"kind": None, "amount": Decimal("-0.1"), "name": "promo"}]
    assert (copied["cost"], copied["tags"]) == (Decimal("1.5"), ["a", "b"])


async def test_progress_rises_and_says_processing_before_the_load(billing: Billing) -> None:
    class Recorder(Progress):
        def __init__(self) -> None:
            self.seen: list[tuple[Stage, float]] = []

        def report(self, stage: Stage, fraction: float, records: int = 0) -> None:
            self.seen.append((stage, fraction))

    billing.make_source([row(DAY, "1.0")])
    recorder = Recorder()
    outcome = await run(billing.document(date=DAY), recorder)
    assert [stage for stage, _ in recorder.seen] == ["extract", "transform", "load", "load"]
    assert recorder.seen[-1] == (Stage.LOAD, 1.0)
    assert set(outcome.stages) == {"validate", "extract", "transform", "load"}


async def test_a_target_of_another_type_is_refused_and_stays(billing: Billing) -> None:
    billing.make_source([row(DAY, "1.0")])
    billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP, cost STRING)")
    outcome, code = await execute(billing.document(date=DAY), Progress())
    assert code is ExitCode.DATA
    told = "the target's column cost is STRING, but the source's is now NUMERIC; such as 1.0 in the row {"
    assert (outcome.error or "").startswith(f"ExternalBQExtractor: {told}")
    assert billing.rows("usage_start_time, cost") == []


@pytest.mark.parametrize("read", WAYS)
async def test_an_amount_that_is_none_is_refused_by_name(billing: Billing, read: str) -> None:
    billing.make_source([row(DAY, "CAST('NaN' AS FLOAT64)"), row(DAY, "1.0")])
    outcome, code = await execute(billing.document(read=read, date=DAY), Progress())
    assert code is ExitCode.DATA
    assert "column cost has 1 values that are no amounts" in (outcome.error or "")
    assert billing.tables() <= {"_pipelines_commits", "_pipelines_locks"}


async def test_what_is_missing_is_named(billing: Billing) -> None:
    outcome, code = await execute(billing.document(date=DAY), Progress())
    assert (outcome.error, code) == (
        f"ExternalBQExtractor: source table {billing.source} doesn't exist",
        ExitCode.CONFIG,
    )
    billing.make_source(schema=[each for each in SCHEMA if each["name"] != "usage_start_time"])
    outcome, code = await execute(billing.document(date=DAY), Progress())
    assert code is ExitCode.CONFIG
    assert "should have a column usage_start_time of type TIMESTAMP, DATETIME, DATE; there is none" in str(
        outcome.error
    )
    billing.client.delete_dataset(billing.dataset)
    outcome, code = await execute(billing.document(date=DAY), Progress())
    assert code is ExitCode.CONFIG
    assert f"dataset {billing.dataset}: not found" in str(outcome.error)


@pytest.mark.parametrize(("read", "step"), [("query", "stage"), ("storage", "load1")])
async def test_rows_that_come_in_while_it_reads_wait_for_the_next_run(
    billing: Billing, read: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    billing.make_source([row(DAY, "1.0")])
    job = Warehouse._job

    async def late(self: Warehouse, name: str, *rest: Any) -> Any:
        if name == step:
            billing.add([row(DAY, "2.0")])
        return await job(self, name, *rest)

    monkeypatch.setattr(Warehouse, "_job", late)
    await run(billing.document(read=read, date=DAY))
    assert billing.costs() == [Decimal(1)]
    monkeypatch.undo()
    await run(billing.document(read=read, date=DAY))
    assert billing.costs() == [Decimal(1), Decimal(2)]


async def test_runs_of_one_day_at_once_leave_its_rows_once(billing: Billing) -> None:
    billing.make_source([row(DAY, "1.0"), row(DAY, "2.0")])
    await run(billing.document(date=DAY))
    ended = await asyncio.gather(*(execute(billing.document(date=DAY), Progress()) for _ in range(4)))
    assert {code for _, code in ended} <= {ExitCode.OK, ExitCode.TRANSIENT}
    assert billing.costs() == [Decimal(1), Decimal(2)]


@pytest.mark.full
def test_memory_is_bounded_for_any_number_of_rows(billing: Billing, tmp_path: Path) -> None:
    billing.make_source()
    names = ", ".join(str(each["name"]) for each in SCHEMA)
    values = (
        f"'account', TIMESTAMP_ADD(TIMESTAMP '{DAY}', INTERVAL MOD(n, 86400) SECOND), TIMESTAMP '{DAY}', n / 7, 1.25, "
        "STRUCT(CAST(n AS STRING) AS id, [STRUCT('key' AS key, 'a value' AS value)] AS labels), "
        "[STRUCT('promotion' AS name, -n / 3 AS amount)], ['a', 'b']"
    )
    billing.sql(f"INSERT INTO `{billing.source}` ({names}) SELECT {values} FROM UNNEST(GENERATE_ARRAY(1, 300000)) AS n")
    for read, limit in (("query", 150), ("storage", 300)):
        # the kernel's own count for this program alone: a child's ru_maxrss begins with what its parent had
        program = (
            "import re; from pathlib import Path; from pipeline_runner.main import main; code = main(); "
            "print(int(code), re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **variables(billing.document(read=read, date=DAY), tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        code, peak = map(int, done.stdout.split())
        assert code == 0, done.stderr
        assert peak < limit * 1024
        assert billing.rows("COUNT(*) AS n", order="n") == [{"n": 300_000}]
