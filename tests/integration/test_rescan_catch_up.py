"""Days that no run has copied are caught up by the next one, whose failure tells the way out."""

from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.execution import execute
from pipeline_runner.processors.gcp.external_bq_extractor import ExternalBQExtractor
from pipeline_runner.progress import Progress
from support.billing import Billing, row
from support.rescans import DAYS, LAST, copied_by, jobs_from_now_on, rescan, same_as_source, ten_days

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return ten_days(bigquery_settings)


def it_was_read_after(billing: Billing, day: str) -> None:
    """Have the manifest say that the last run was on the morning after its day, since tests don't take days."""
    at = f"TIMESTAMP_ADD(TIMESTAMP '{day} 06:00:00+00', INTERVAL 1 DAY)"
    billing.sql(f"UPDATE `{billing.dataset}._pipelines_manifest` SET read_at = {at} WHERE read_at > {at}")


async def run_on_the_next_day(billing: Billing, day: str, *, days: int = 3) -> str:
    """A scheduled run; its id."""
    made = billing.document(date=day)
    made.config["source"] |= {"rescan_days": days}
    assert (await execute(made, Progress()))[1] is ExitCode.OK
    it_was_read_after(billing, day)
    return made.run_id


def read_at(billing: Billing, day: str) -> datetime:
    """When a day was read last, as the manifest has it."""
    (found,) = billing.sql(f"SELECT read_at FROM `{billing.dataset}._pipelines_manifest` WHERE day = '{day}'")
    at: datetime = found["read_at"]
    return at


async def test_missed_days_are_caught_up_and_unchanged_ones_among_them_are_not_copied(billing: Billing) -> None:
    async def run_of(day: str, days: int, most: int | None = None) -> tuple[Outcome, ExitCode, str]:
        made = billing.document(date=day)
        made.config["source"] |= {"rescan_days": days} | ({} if most is None else {"catch_up_days": most})
        ended = await execute(made, Progress())
        it_was_read_after(billing, day)
        return *ended, made.run_id

    await run_of(DAYS[1], 2)
    _, code, run_id = await run_of(DAYS[8], 2, 0)
    assert (code, copied_by(billing, run_id)) == (ExitCode.OK, {DAYS[7], DAYS[8]})
    made = billing.document(date=LAST)
    made.config["source"] |= {"rescan_days": 2}
    told = await ExternalBQExtractor(made.config, made.org_slug, made.run_id).preview(dict(made.parameters))
    assert told["days before"] == (
        f"{DAYS[2]}..{DAYS[6]} had been missed and are caught up and {DAYS[1]} are read again, as they were "
        "last read before their corrections had come"
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
        return await run_on_the_next_day(billing, day)

    await run_of(DAYS[5])
    # of the last two days, a run of the seventh and one of the eighth would have seen these
    billing.add([row(DAYS[4], "2.5"), row(DAYS[5], "3.5")])
    run_id = await run_of(DAYS[8])
    assert copied_by(billing, run_id) == {DAYS[4], DAYS[5], *DAYS[6:9]}
    assert len(billing.costs()) == 7  # one of each day since the fifth, and the two that came late


async def test_days_copied_by_hand_in_a_pause_lose_no_correction(billing: Billing) -> None:
    for day in DAYS[:6]:
        await run_on_the_next_day(billing, day)
    by_hand = billing.document(start_date=DAYS[6], end_date=DAYS[7])
    assert (await execute(by_hand, Progress()))[1] is ExitCode.OK
    it_was_read_after(billing, DAYS[7])
    billing.add([row(DAYS[4], "2.5"), row(DAYS[5], "3.5")])
    run_id = await run_on_the_next_day(billing, DAYS[8])
    assert copied_by(billing, run_id) == {DAYS[4], DAYS[5], DAYS[8]}
    await run_on_the_next_day(billing, LAST)
    assert same_as_source(billing)


async def test_a_month_that_is_copied_before_it_is_over_is_not_done(billing: Billing) -> None:
    whole = billing.document(start_date=DAYS[0], end_date=LAST)
    billing.sql(f"DELETE FROM `{billing.source}` WHERE usage_start_time > '2026-11-04'")
    assert (await execute(whole, Progress()))[1] is ExitCode.OK
    it_was_read_after(billing, DAYS[1])
    billing.add(row(day, "7") for day in DAYS[2:])
    made = billing.document(date=LAST)
    made.config["source"] |= {"rescan_days": 2}
    assert (await execute(made, Progress()))[1] is ExitCode.OK
    assert same_as_source(billing)


@pytest.mark.parametrize("is_changed", [True, False])
async def test_the_last_look_at_a_day_that_has_not_changed_is_noted_once(
    billing: Billing, monkeypatch: pytest.MonkeyPatch, *, is_changed: bool
) -> None:
    for day in DAYS[:6]:
        await run_on_the_next_day(billing, day)
    early = [read_at(billing, day) for day in DAYS[:6]]
    if is_changed:
        billing.add([row(DAYS[5], "3.5")])
    seen = jobs_from_now_on(monkeypatch)
    made = billing.document(date=DAYS[5])
    made.config["source"] |= {"rescan_days": 3}
    assert (await execute(made, Progress()))[1] is ExitCode.OK
    # the run of the sixth is weeks late, and so the last reading of the last two; the others were read late enough
    late = [read_at(billing, day) for day in DAYS[:6]]
    assert late[:4] == early[:4]
    assert all(at > datetime(2026, 11, 20, tzinfo=UTC) for at in late[4:])
    assert ("reading" in seen) != is_changed
    del seen[:]
    again = billing.document(date=DAYS[5])
    again.config["source"] |= {"rescan_days": 3}
    assert (await execute(again, Progress()))[1] is ExitCode.OK
    assert "reading" not in seen


@pytest.mark.parametrize("copied_from", ["the same", "another"])
async def test_days_before_the_window_that_the_source_keeps_no_longer_stay(billing: Billing, copied_from: str) -> None:
    for day in DAYS[:6]:
        await run_on_the_next_day(billing, day)
    if copied_from == "another":
        billing.sql(f"UPDATE `{billing.dataset}._pipelines_manifest` SET source = 'p.d.before' WHERE TRUE")
    billing.sql(f"DELETE FROM `{billing.source}` WHERE usage_start_time < '2026-11-06'")
    with capture_logs() as logs:
        run_id = await run_on_the_next_day(billing, DAYS[8])
    assert [each["days"] for each in logs if each["log_level"] == "warning" and "keep theirs" in each["event"]] == [
        DAYS[4]
    ]
    # what comes from another source is copied anew where there are rows
    assert copied_by(billing, run_id) == set(DAYS[6:9] if copied_from == "the same" else DAYS[5:9])
    assert len(billing.costs()) == 7  # of the first and the second, the fifth, and the sixth to the ninth
    with capture_logs() as logs:
        await run_on_the_next_day(billing, DAYS[8])
    assert not any("keep theirs" in each["event"] for each in logs)


async def test_days_that_are_kept_do_not_stand_in_the_way_of_empty_ones(billing: Billing) -> None:
    for day in DAYS[:6]:
        await run_on_the_next_day(billing, day)
    billing.sql(f"DELETE FROM `{billing.source}` WHERE TRUE")
    run_id = await run_on_the_next_day(billing, DAYS[8])
    assert copied_by(billing, run_id) == set(DAYS[6:9])
    assert len(billing.costs()) == 4
