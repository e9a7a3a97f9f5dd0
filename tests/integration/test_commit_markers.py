"""The markers of a publish, written by the runner and read by the exporter, in the stand-in."""

from datetime import UTC, datetime

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_core.store.bigquery.commits import CommitMarkers
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.billing import Billing, row

DAY = "2026-11-01"
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return Billing(bigquery_settings)


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
