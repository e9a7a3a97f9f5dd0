"""Runs that meet at one target, or in one organization's project, keep each other's rows: none twice, none lost."""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_local.services.bigquery import BigQuery
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.publishing import Prepared, Publication, Publisher, Target
from pipeline_runner.bigquery.transaction import script
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError
from pipeline_runner.execution import execute
from pipeline_runner.processors.gcp.external_bq_extractor import ExternalBQExtractor
from pipeline_runner.progress import Progress
from support.billing import SCHEMA, Billing, row
from support.fault_proxy import FaultProxy, bigquery_proxy

pytestmark = pytest.mark.usefixtures("quick_retries")

DAY = "2026-11-01"


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return Billing(bigquery_settings)


@pytest.fixture
def proxy(bigquery: BigQuery) -> Iterator[FaultProxy]:
    """A proxy that refuses a second job of one id, as BigQuery does."""
    with bigquery_proxy() as made:
        yield made


@pytest.mark.usefixtures("proxy")
async def test_a_second_run_in_a_dataset_reads_its_own_marker(billing: Billing) -> None:
    billing.make_source([row(DAY, "1.0")])
    for _ in range(2):
        outcome, code = await execute(billing.document(date=DAY), Progress())
        assert (outcome.error, outcome.records_processed, code) == (None, 1, ExitCode.OK)


async def test_a_step_used_twice_is_a_defect(bigquery_settings: BigQuerySettings) -> None:
    warehouse = Warehouse(bigquery_settings, Identity("acme", "run_twice", "a"))
    await warehouse.query("one", "SELECT 1", location="US", what="asking")
    with pytest.raises(RuntimeError, match="one step named one"):
        await warehouse.query("one", "SELECT 2", location="US", what="asking")


@pytest.mark.parametrize("run_id", ["", "run_thesame"])
async def test_two_publishers_of_an_empty_day_leave_its_rows_once(
    billing: Billing, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    billing.make_source([row("2026-10-01", "1.0"), row(DAY, "1.0")])
    await execute(billing.document(date="2026-10-01"), Progress())
    publish, both = Publisher.publish, asyncio.Barrier(2)

    async def together(self: Publisher, publications: Sequence[Publication]) -> int | None:
        await both.wait()
        return await publish(self, publications)

    monkeypatch.setattr(Publisher, "publish", together)
    ends = await asyncio.gather(*(execute(billing.document(run_id, date=DAY), Progress()) for _ in range(2)))
    codes = {code for _, code in ends}
    assert ExitCode.OK in codes
    assert codes <= {ExitCode.OK, ExitCode.TRANSIENT}
    rows = billing.sql(f"SELECT cost FROM `{billing.target}` WHERE usage_start_time >= TIMESTAMP '{DAY}'")
    assert rows == [{"cost": Decimal(1)}]


async def test_publishers_of_one_target_change_one_row_first(billing: Billing) -> None:
    billing.make_source([row(DAY, "1.0")])
    documents = [billing.document(date=DAY) for _ in range(2)]
    for document in documents:
        await execute(document, Progress())
    locks = billing.sql(f"SELECT target, run_id FROM `{billing.dataset}._pipelines_locks`")
    assert locks == [{"target": "costs", "run_id": documents[1].run_id}]
    target = Target(billing.target, Column("usage_start_time", "TIMESTAMP"), "US")
    windows = (Window.from_parameters({"date": DAY}),)
    publication = Publication(target, "p.d.s", [("cost", "s.`cost`")], windows, 1, datetime.now(UTC))
    assert script("r", [publication]).startswith(
        f"BEGIN TRANSACTION;\nUPDATE `{billing.dataset}._pipelines_locks` SET run_id = 'r'"
    )


async def test_an_older_read_never_replaces_a_newer_one(billing: Billing, monkeypatch: pytest.MonkeyPatch) -> None:
    billing.make_source([row(DAY, "1.0")])
    await execute(billing.document(date=DAY), Progress())
    prepare, reached, gate = Publisher.prepare, asyncio.Event(), asyncio.Event()

    async def held(self: Publisher, prepared: Sequence[Prepared]) -> None:
        if not reached.is_set():
            reached.set()
            await gate.wait()
        await prepare(self, prepared)

    monkeypatch.setattr(Publisher, "prepare", held)
    document = billing.document(date=DAY)
    older = asyncio.ensure_future(execute(document, Progress()))
    await reached.wait()
    billing.add([row(DAY, "2.0")])
    _, code = await execute(billing.document(start_date="2026-10-31", end_date=DAY), Progress())
    assert code is ExitCode.OK
    gate.set()
    outcome, code = await older
    assert code is ExitCode.TRANSIENT
    assert "rows of a newer read have been published" in (outcome.error or "")
    assert billing.costs() == [Decimal(1), Decimal(2)]
    # the next attempt at it reads anew
    _, code = await execute(document, Progress())
    assert code is ExitCode.OK
    assert billing.costs() == [Decimal(1), Decimal(2)]


async def test_a_table_of_markers_without_the_time_of_the_read_gets_it(billing: Billing) -> None:
    billing.sql(
        f"CREATE TABLE `{billing.dataset}._pipelines_commits` (run_id STRING, target STRING, window_start DATE, "
        "window_end DATE, row_count INT64, committed_at TIMESTAMP)"
    )
    billing.sql(
        f"INSERT INTO `{billing.dataset}._pipelines_commits` VALUES ('run_old', 'costs', DATE '{DAY}', DATE '{DAY}', "
        f"1, TIMESTAMP '{DAY}')"
    )
    billing.make_source([row(DAY, "1.0")])
    _, code = await execute(billing.document(date=DAY), Progress())
    assert code is ExitCode.OK
    markers = billing.sql(f"SELECT read_at FROM `{billing.dataset}._pipelines_commits` WHERE run_id != 'run_old'")
    assert markers[0]["read_at"] is not None


async def test_a_target_that_another_run_made_meanwhile_gets_our_columns(billing: Billing) -> None:
    billing.make_source([row(DAY, "1.0")])
    billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP, other STRING)")
    target = Target(billing.target, Column("usage_start_time", "TIMESTAMP"), "US")
    publisher = Publisher(Warehouse(BigQuerySettings(), Identity("acme", "run_late", "a")), [target], "run_late")
    await publisher.prepare([(target, None, (Column("usage_start_time", "TIMESTAMP"), Column("cost", "NUMERIC")))])
    billing.sql(f"INSERT INTO `{billing.target}` (cost) VALUES (NUMERIC '1.5')")
    assert billing.rows("usage_start_time, other, cost") == [
        {"usage_start_time": None, "other": None, "cost": Decimal("1.5")}
    ]


async def test_another_organizations_dataset_is_no_source(
    billing: Billing, bigquery_settings: BigQuerySettings
) -> None:
    billing.make_source([row(DAY, "42.0")])
    await execute(billing.document(date=DAY), Progress())
    thief = Billing(bigquery_settings)
    thief.source = billing.target
    outcome, code = await execute(thief.document(date=DAY), Progress())
    assert code is ExitCode.CONFIG
    assert f"source.dataset: {billing.dataset} belongs to another organization" in (outcome.error or "")
    assert thief.tables() == set()
    own = billing.document(date=DAY)
    project, dataset, table = billing.target.split(".")
    own.config["source"] |= {"project": project, "dataset": dataset, "table": table}
    own.config["target"]["table"] = "copy"
    outcome, code = await execute(own, Progress())
    assert code is ExitCode.CONFIG
    assert "costs has the columns run_id, loaded_at, which every target has for its own lineage" in str(outcome.error)
    billing.sql(
        f"CREATE TABLE `{billing.dataset}.plain` AS SELECT * EXCEPT (run_id, loaded_at) FROM `{billing.target}`"
    )
    own.config["source"]["table"] = "plain"
    assert (await execute(own, Progress()))[1] is ExitCode.OK


@pytest.mark.parametrize("read", ["query", "storage"])
@pytest.mark.parametrize(("rows", "code"), [(1_000, ExitCode.OK), (30_000_000, ExitCode.DATA)])
async def test_rounding_takes_no_more_than_a_hundredth(
    billing: Billing, read: str, rows: int, code: ExitCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 30 million rows would take minutes: the limit shrinks instead of the rows growing
    monkeypatch.setattr("pipeline_runner.bigquery.counted.ROUNDING_LIMIT", Decimal("0.01") * 1_000 / rows)
    billing.make_source([row(DAY, "4e-10", credits="[STRUCT('c' AS name, 0.1 AS amount)]")] * 1_000)
    outcome, found = await execute(billing.document(read=read, date=DAY), Progress())
    assert found is code, outcome.error
    if code is ExitCode.DATA:
        assert "column cost has amounts of more than nine decimals" in (outcome.error or "")
        assert "costs" not in billing.tables()


async def test_stopped_between_the_commit_and_its_marker_is_success(
    billing: Billing, monkeypatch: pytest.MonkeyPatch
) -> None:
    billing.make_source([row(DAY, "1.0")])
    publish = Publisher.publish
    stops = 0

    async def stopped(self: Publisher, publications: Sequence[Publication]) -> int | None:
        nonlocal stops
        rows = await publish(self, publications)
        stops += task.cancel()
        await asyncio.sleep(0)
        return rows

    monkeypatch.setattr(Publisher, "publish", stopped)
    task = asyncio.ensure_future(execute(billing.document(date=DAY), Progress()))
    outcome, code = await task
    assert stops == 1
    assert (outcome.status, outcome.records_processed, code) == ("succeeded", 1, ExitCode.OK)


async def test_a_preview_names_a_column_that_the_storage_api_cannot_bring(
    bigquery_settings: BigQuerySettings,
) -> None:
    elsewhere = Billing(bigquery_settings, source_location="EU")
    elsewhere.make_source(schema=[*SCHEMA, {"name": "details", "type": "JSON"}])
    document = elsewhere.document(date=DAY)
    extractor = ExternalBQExtractor(document.config, document.org_slug, document.run_id)
    with pytest.raises(ConfigError, match="column details is JSON, which the Storage Read API can't bring over"):
        await extractor.preview(dict(document.parameters))
