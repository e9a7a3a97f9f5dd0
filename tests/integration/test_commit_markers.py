"""The markers of a publish, written by the runner and read by the exporter, in the stand-in."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from google.cloud import bigquery as google
from structlog.testing import capture_logs

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_core.store.bigquery.commits import CommitMarkers
from pipeline_local.services.bigquery import BigQuery
from pipeline_runner.bigquery.markers import commits_table
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.billing import Billing, row
from support.fault_proxy import FaultProxy, bigquery_proxy, error

DAY = "2026-11-01"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return Billing(bigquery_settings)


@pytest.fixture
def proxy(bigquery: BigQuery) -> Iterator[FaultProxy]:
    """A proxy that runs go through; `billing` itself looks straight at the stand-in."""
    with bigquery_proxy() as made:
        yield made


async def test_a_run_that_has_published_is_known_with_its_rows(
    billing: Billing, bigquery_settings: BigQuerySettings
) -> None:
    billing.make_source([row(DAY, "1.0"), row(DAY, "2.0")])
    document = billing.document(date=DAY)
    _, code = await execute(document, Progress())
    assert code is ExitCode.OK
    markers = CommitMarkers(bigquery_client(bigquery_settings), document.env)
    found = await markers.published(document.org_slug, [document.run_id, "run_other"], LONG_AGO)
    assert found == {document.run_id: 2}
    assert await markers.published(document.org_slug, [document.run_id], datetime.now(UTC)) == {}


async def test_an_organization_without_any_publish_has_none(bigquery_settings: BigQuerySettings) -> None:
    markers = CommitMarkers(bigquery_client(bigquery_settings), "test")
    assert await markers.published("nobody_here", ["run_1"], LONG_AGO) == {}


def make_commits(billing: Billing, days: int | None) -> google.Table:
    """The table of markers as an earlier version made it, which keeps them for so many days; None: for ever."""
    table = commits_table(f"{billing.dataset}._pipelines_commits")
    kept = None if days is None else timedelta(days=days) // timedelta(milliseconds=1)
    table.time_partitioning = google.TimePartitioning("DAY", field="committed_at", expiration_ms=kept)
    return billing.client.create_table(table)


def kept_days(billing: Billing) -> int | None:
    partitioning = billing.client.get_table(f"{billing.dataset}._pipelines_commits").time_partitioning
    assert partitioning is not None
    assert (partitioning.type_, partitioning.field) == ("DAY", "committed_at")
    return None if partitioning.expiration_ms is None else partitioning.expiration_ms // (24 * 60 * 60 * 1000)


@pytest.mark.parametrize(("before", "after"), [(90, 400), (400, 400), (500, 500), (None, None)])
async def test_markers_are_kept_for_400_days_and_never_for_less_than_they_were(
    billing: Billing, proxy: FaultProxy, before: int | None, after: int | None
) -> None:
    make_commits(billing, before)
    billing.make_source([row(DAY, "1.0")])
    assert (await execute(billing.document(date=DAY), Progress()))[1] is ExitCode.OK
    assert kept_days(billing) == after
    changes = [line for line in proxy.seen if line.startswith("PATCH ") and "/_pipelines_commits" in line]
    assert len(changes) == (before != after)
    assert billing.costs() == [1]


@pytest.mark.parametrize(
    ("status", "reason", "told"),
    [(403, "accessDenied", "it takes bigquery.tables.update"), (412, "conditionNotMet", "for longer: ")],
)
async def test_markers_whose_age_cannot_be_changed_are_written_all_the_same(
    billing: Billing, proxy: FaultProxy, status: int, reason: str, told: str
) -> None:
    make_commits(billing, 90)
    billing.make_source([row(DAY, "1.0")])
    fault = proxy.add(r"PATCH .*/_pipelines_commits", status=status, answer=error(status, reason, "no"))
    with capture_logs() as lines:
        assert (await execute(billing.document(date=DAY), Progress()))[1] is ExitCode.OK
    assert fault.times == 0
    (warning,) = (line for line in lines if line["log_level"] == "warning")
    assert warning["table"].endswith("._pipelines_commits")
    assert told in warning["error"]
    assert (kept_days(billing), billing.costs()) == (90, [1])
    # the next run has better luck
    assert (await execute(billing.document(date=DAY), Progress()))[1] is ExitCode.OK
    assert kept_days(billing) == 400
