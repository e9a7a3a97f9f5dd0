"""A rescan copies the days that have changed at the source since they were copied, and no others."""

from decimal import Decimal

import pytest
from google.cloud import bigquery as google

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.execution import execute
from pipeline_runner.processors.gcp.external_bq_extractor import ExternalBQExtractor
from pipeline_runner.progress import Progress
from support.billing import Billing, row
from support.rescans import (
    CREDIT,
    DAYS,
    FIRST,
    LAST,
    at,
    copied_by,
    document,
    jobs_from_now_on,
    make_ten_days,
    rescan,
    same_as_source,
    ten_days,
)

pytestmark = pytest.mark.usefixtures("quick_retries")

# The same row, exported later.
LATER = f"TIMESTAMP '{LAST} 23:30:00+00'"


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return ten_days(bigquery_settings)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return jobs_from_now_on(monkeypatch)


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
        make_ten_days(billing)
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


async def test_the_cost_view_is_seen_to_even_where_nothing_has_changed(
    billing: Billing, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rescan(billing)
    seen: list[str] = []

    async def ensured(_: Warehouse, dataset: str, location: str) -> bool:
        seen.append(f"{dataset} ({location})")
        return True

    monkeypatch.setattr("pipeline_runner.processors.warehouse_processor.ensure_focus_view", ensured)
    assert await rescan(billing) == 0
    assert seen == [f"{billing.dataset} (US)"]
