"""Days that no run has copied are caught up by the next one, whose failure tells the way out."""

import pytest

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.execution import execute
from pipeline_runner.processors.gcp.external_bq_extractor import ExternalBQExtractor
from pipeline_runner.progress import Progress
from support.billing import Billing, row
from support.rescans import DAYS, LAST, copied_by, rescan, same_as_source, ten_days

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return ten_days(bigquery_settings)


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


async def test_corrections_that_fell_into_a_pause_are_copied_though_it_left_no_day_out(billing: Billing) -> None:
    async def run_of(day: str) -> str:
        made = billing.document(date=day)
        made.config["source"] |= {"rescan_days": 3}
        assert (await execute(made, Progress()))[1] is ExitCode.OK
        return made.run_id

    await run_of(DAYS[5])
    # of the last two days, a run of the seventh and one of the eighth would have seen these
    billing.add([row(DAYS[4], "2.5"), row(DAYS[5], "3.5")])
    run_id = await run_of(DAYS[8])
    assert copied_by(billing, run_id) == {DAYS[4], DAYS[5], *DAYS[6:9]}
    assert len(billing.costs()) == 7  # one of each day since the fifth, and the two that came late
