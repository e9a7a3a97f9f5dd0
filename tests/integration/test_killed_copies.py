"""A copy of a billing export that is killed at any request, sent or unsent, is whole after the next attempt."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from google.cloud.bigquery import SchemaField, Table

from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from support.billing import Billing
from support.fault_proxy import FaultProxy, bigquery_proxy
from support.killed_runs import DONE, HALF, UNSENT, At, each_way, killed_at, leaves_only_what_expires, statements
from support.provider_checks import succeeds
from support.rescans import DAYS, copied_by, document, rescan, same_as_source, ten_days

pytestmark = pytest.mark.usefixtures("quick_retries")

EARLIER = Decimal(7)
CREDITS = [("promo", Decimal("-0.1")), ("none", None)]


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return ten_days(bigquery_settings)


@pytest.fixture
def proxy(billing: Billing) -> Iterator[FaultProxy]:
    """A proxy that the runs of this test go through; `billing` itself goes straight to the stand-in."""
    with bigquery_proxy() as made:
        yield made


def make_narrow_target(billing: Billing) -> None:
    """A target that lacks columns, and has one that is too narrow, with a row that the copy replaces."""
    columns = [SchemaField("usage_start_time", "TIMESTAMP"), SchemaField("cost", "INTEGER")]
    billing.client.create_table(Table(billing.target, columns))
    row = f"TIMESTAMP '{DAYS[0]} 01:00:00+00', {EARLIER}"
    billing.sql(f"INSERT INTO `{billing.target}` (usage_start_time, cost) VALUES ({row})")


def marked(billing: Billing, run_id: str) -> list[dict[str, object]]:
    """What is known of a run's publishing; nothing where there is no table for it."""
    if "_pipelines_commits" not in billing.tables():
        return []
    return billing.sql(f"SELECT * FROM `{billing.dataset}._pipelines_commits` WHERE run_id = '{run_id}' ORDER BY 3")


_BOTH = {
    "growing the target": At(r"POST .*/jobs", r"ALTER TABLE .*\.costs`"),
    "publishing": At(r"POST .*/jobs", "BEGIN TRANSACTION"),
    "dropping the staging table": At(r"DELETE .*/tables/_staging"),
}
BY_QUERY = {"staging": At(r"POST .*/jobs", "CREATE OR REPLACE TABLE .*_staging"), **_BOTH}
BY_STORAGE = {
    "making the staging table": At(r"POST .*/datasets/\w+/tables", "_staging"),
    "beginning the load": At(r"POST /upload/", "_staging"),
    "loading": At(r"PUT /upload/"),
    **_BOTH,
}
SMOKE = {("growing the target", DONE)}
STAGES = [
    pytest.param(read, *each.values, marks=each.marks, id=f"{read}: {each.id}")
    for read, points, smoke in (("query", BY_QUERY, SMOKE), ("storage", BY_STORAGE, {("loading", HALF)}))
    for each in each_way(points, smoke)
]
PUBLISHED = {("publishing", DONE), *(("dropping the staging table", way) for way in (UNSENT, DONE))}


async def ends_well(billing: Billing, run: RunDocument, proxy: FaultProxy) -> None:
    """Run the document again: what stands there then is what an undisturbed run would have left."""
    before, transactions = marked(billing, run.run_id), len(statements(proxy, "BEGIN TRANSACTION"))
    outcome = await succeeds(run)
    assert outcome.records_processed == 8
    assert same_as_source(billing)
    for each in billing.rows("currency_conversion_rate, tags, credits"):
        assert (each["currency_conversion_rate"], each["tags"]) == (Decimal("1.25"), ["a", "b"])
        assert [(credit["name"], credit["amount"]) for credit in each["credits"]] == CREDITS
    if before:
        assert marked(billing, run.run_id) == before
        assert len(statements(proxy, "BEGIN TRANSACTION")) == transactions
    assert len(marked(billing, run.run_id)) == 1
    assert len(copied_by(billing, run.run_id)) == 10
    assert await rescan(billing) == 0
    leaves_only_what_expires(billing.tables(), proxy)


@pytest.mark.parametrize(("read", "stage", "way"), STAGES)
async def test_killed_at_any_request_the_next_attempt_gives_the_same_rows(
    billing: Billing, proxy: FaultProxy, tmp_path: Path, read: str, stage: str, way: str
) -> None:
    make_narrow_target(billing)
    run = document(billing, read=read)
    point = (BY_QUERY if read == "query" else BY_STORAGE)[stage]
    await killed_at(point, proxy, way, run, tmp_path)
    assert bool(marked(billing, run.run_id)) == ((stage, way) in PUBLISHED)
    if (stage, way) not in PUBLISHED:
        assert billing.costs() == [EARLIER]
    if stage == "staging":
        assert any(name.startswith("_staging") for name in billing.tables()) == (way == DONE)
    leaves_only_what_expires(billing.tables(), proxy)
    await ends_well(billing, run, proxy)
