"""Days are emptied where the source has no rows for them, and a whole target only where somebody asks for it."""

from decimal import Decimal

import pytest

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from support.billing import Billing
from support.rescans import DAYS, FIRST, LAST, document, rescan, ten_days

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return ten_days(bigquery_settings)


async def test_a_day_that_stood_before_there_was_a_manifest_is_emptied(billing: Billing) -> None:
    billing.sql(f"CREATE TABLE `{billing.target}` (usage_start_time TIMESTAMP, cost NUMERIC(38, 9))")
    billing.sql(f"INSERT INTO `{billing.target}` VALUES (TIMESTAMP '{DAYS[2]}', 5), (TIMESTAMP '2026-10-31', 6)")
    assert await rescan(billing) == 8
    assert billing.costs() == [Decimal(6), *[Decimal("0.3")] * 8]


async def test_a_source_that_has_no_rows_any_more_empties_nothing_unasked(billing: Billing) -> None:
    await rescan(billing)
    billing.sql(f"DELETE FROM `{billing.source}` WHERE TRUE")
    outcome, code = await execute(document(billing), Progress())
    assert code is ExitCode.DATA
    assert (
        f"nothing was published: {billing.target} has 8 rows for {DAYS[0]}..{DAYS[1]}, {DAYS[4]}..{DAYS[9]}, "
        "and the source now has none at all; if that is right, a run that names the days"
    ) in str(outcome.error)
    assert len(billing.costs()) == 8
    named = billing.document(start_date=FIRST, end_date=LAST)
    assert (await execute(named, Progress()))[1] is ExitCode.OK
    assert billing.costs() == []
    # what is empty already stays so without a word
    assert await rescan(billing) == 0
