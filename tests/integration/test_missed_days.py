"""Days that no run has published are caught up by the next one, and none of a table's days vanish unasked."""

import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

import pytest
from google.cloud import bigquery
from structlog.testing import capture_logs

from pipeline_core.outcome import ExitCode, Outcome
from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.due_days import due_days
from pipeline_runner.bigquery.rows import RowStaging, RowTable
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError
from pipeline_runner.execution import execute
from pipeline_runner.processors import warehouse_processor
from pipeline_runner.processors.row_processor import RowProcessor
from pipeline_runner.progress import Progress

_numbers = itertools.count(1)


class Bills(RowProcessor):
    """A bill for each day of those that the source has; both tables get the same."""

    source: ClassVar[set[date]] = set()
    refused: ClassVar[set[date]] = set()
    asked: ClassVar[list[str]] = []

    def tables(self) -> Sequence[RowTable]:
        columns = (Column("day", "DATE"), Column("amount", "NUMERIC"))
        return [RowTable(key, key, columns, "day") for key in ("costs", "usage")]

    def describe(self) -> dict[str, str]:
        return {"read": str(self.due)}

    async def read(self, staging: RowStaging, windows: Sequence[Window]) -> None:
        Bills.asked.append(", ".join(map(str, windows)))
        days = [day for window in windows for day in window.days()]
        if self.refused & set(days):
            raise ConfigError("the provider gives no such old days")
        for key in ("costs", "usage"):
            await staging.add(key, [{"day": day, "amount": Decimal(1)} for day in days if day in self.source])


class Organization:
    """An organization whose bills are read daily."""

    def __init__(self, settings: BigQuerySettings) -> None:
        self.client = bigquery_client(settings)
        self.org = f"missed{next(_numbers)}"
        self.dataset = f"{settings.project}.{self.org}_test"
        self.client.create_dataset(bigquery.Dataset(self.dataset))

    def document(self, rescan_days: int | None = 2, catch_up_days: int | None = None, **parameters: str) -> RunDocument:
        days = {"rescan_days": rescan_days, "catch_up_days": catch_up_days}
        return RunDocument(
            run_id=f"run_{self.org}x{next(_numbers)}",
            org_slug=self.org,
            env="test",
            provider="bills",
            domain="cost",
            pipeline="bills",
            logical_time=datetime.now(UTC),
            parameters=parameters,
            config={
                "source": {"type": "bills"} | {name: value for name, value in days.items() if value is not None},
                "target": {"dataset": f"{self.org}_test", "table": "costs"},
            },
            timeout_seconds=60,
            max_retries=0,
        )

    async def run(self, day: date, **settings: int | None) -> tuple[Outcome, ExitCode]:
        """The scheduled run of a day, on the morning after it."""
        document = self.document(**settings, date=day.isoformat())
        ended = await execute(document, Progress(), load=lambda _: Bills)
        self._read_on(day + timedelta(days=1), document.run_id)
        return ended

    async def run_named(self, first: date, last: date, on: date | None = None) -> tuple[Outcome, ExitCode]:
        """A run of days that its caller named, on some day; the day after the last unless given."""
        document = self.document(None, start_date=first.isoformat(), end_date=last.isoformat())
        ended = await execute(document, Progress(), load=lambda _: Bills)
        self._read_on(on or last + timedelta(days=1), document.run_id)
        return ended

    def _read_on(self, day: date, run_id: str) -> None:
        """Have the markers of a run say that it was on that day's morning, since tests don't take days."""
        read_at = f"TIMESTAMP '{day} 06:00:00+00'"
        if any(each.table_id == "_pipelines_commits" for each in self.client.list_tables(self.dataset)):
            self.sql(f"UPDATE `{self.dataset}._pipelines_commits` SET read_at = {read_at} WHERE run_id = '{run_id}'")

    def days(self, table: str = "costs") -> list[int]:
        rows = self.sql(f"SELECT day FROM `{self.dataset}.{table}` ORDER BY day")
        return [row["day"].day for row in rows]

    def sql(self, statement: str) -> list[dict[str, Any]]:
        return [dict(each) for each in self.client.query(statement, job_retry=None).result(timeout=60)]


def november(days: Iterable[int]) -> set[date]:
    return {date(2026, 11, day) for day in days}


def day(number: int) -> date:
    return date(2026, 11, number)


@pytest.fixture
def organization(bigquery_settings: BigQuerySettings, monkeypatch: pytest.MonkeyPatch) -> Organization:
    monkeypatch.setattr(Bills, "source", november(range(1, 31)))
    monkeypatch.setattr(Bills, "refused", set())
    monkeypatch.setattr(Bills, "asked", [])
    return Organization(bigquery_settings)


async def test_a_pause_longer_than_the_rescan_leaves_no_hole(organization: Organization) -> None:
    for number in (1, 2, 3, 9, 10):
        _, code = await organization.run(day(number))
        assert code is ExitCode.OK
    # October's last day and November's first came by the first run; the third day's rescan fell into the gap
    assert Bills.asked == [
        "2026-10-31..2026-11-01", "2026-11-01..2026-11-02", "2026-11-02..2026-11-03", "2026-11-03..2026-11-09",
        "2026-11-09..2026-11-10",
    ]  # fmt: skip
    assert organization.days() == organization.days("usage") == list(range(1, 11))


async def test_a_pause_that_leaves_no_day_out_loses_no_correction(organization: Organization) -> None:
    for number in (1, 2, 3, 6):
        await organization.run(day(number), rescan_days=3)
    # there was no run of the fourth and the fifth, which would have read the second and the third for the last time
    assert Bills.asked[-1] == "2026-11-02..2026-11-06"
    await organization.run(day(6), rescan_days=3)
    assert Bills.asked[-1] == "2026-11-04..2026-11-06"


async def test_days_read_by_hand_in_a_pause_lose_no_correction(organization: Organization) -> None:
    for number in (1, 2, 3):
        await organization.run(day(number), rescan_days=3)
    await organization.run_named(day(4), day(6), on=day(7))
    await organization.run(day(7), rescan_days=3)
    # the last readings of the second and third would have been in the pause, that of the fourth by the sixth's run
    assert Bills.asked[-1] == "2026-11-02..2026-11-03, 2026-11-05..2026-11-07"


async def test_days_that_are_copied_before_they_are_there_are_not_done(organization: Organization) -> None:
    Bills.source = november([1, 2])
    await organization.run_named(day(1), day(10), on=day(3))
    Bills.source = november(range(1, 12))
    await organization.run(day(11))
    assert Bills.asked[-1] == "2026-11-02..2026-11-11"
    assert organization.days() == organization.days("usage") == list(range(1, 12))


async def test_a_long_pause_is_caught_up_in_parts(organization: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse_processor, "due_days", partial(due_days, at_once=5))
    await organization.run_named(day(1), day(2))
    for number in (14, 14, 14, 15):
        _, code = await organization.run(day(number))
        assert code is ExitCode.OK
    assert Bills.asked[1:] == [
        "2026-11-08..2026-11-14", "2026-11-03..2026-11-07, 2026-11-13..2026-11-14",
        "2026-11-02, 2026-11-13..2026-11-14", "2026-11-14..2026-11-15",
    ]  # fmt: skip
    assert organization.days() == organization.days("usage") == list(range(1, 16))


async def test_empty_days_were_not_missed(organization: Organization) -> None:
    Bills.source = november([1, 9])
    await organization.run_named(day(1), day(8))
    await organization.run(day(9))
    assert Bills.asked[-1] == "2026-11-08..2026-11-09"


async def test_a_day_counts_as_published_when_every_table_has_it(organization: Organization) -> None:
    await organization.run_named(day(1), day(5))
    organization.sql(
        f"DELETE FROM `{organization.dataset}._pipelines_commits` WHERE target = 'usage' AND window_end = '2026-11-05'"
    )
    organization.sql(
        f"INSERT INTO `{organization.dataset}._pipelines_commits` (run_id, target, window_start, window_end) VALUES "
        "('run_other', 'usage', DATE '2026-11-01', DATE '2026-11-02'), ('run_none', 'usage', NULL, NULL), "
        "('run_other', 'usage', DATE '2026-11-05', DATE '2026-11-05')"
    )
    await organization.run(day(7), rescan_days=1)
    assert Bills.asked[-1] == "2026-11-03..2026-11-04, 2026-11-06..2026-11-07"


@pytest.mark.parametrize(("most", "first"), [(4, "2026-11-06"), (0, "2026-11-08")])
async def test_no_more_days_are_caught_up_than_the_config_says(
    organization: Organization, most: int, first: str
) -> None:
    await organization.run_named(day(1), day(2))
    await organization.run(day(9), catch_up_days=most)
    assert Bills.asked[-1] == f"{first}..2026-11-09"


async def test_a_provider_that_refuses_old_days_does_not_block_the_new_ones_for_good(
    organization: Organization,
) -> None:
    await organization.run_named(day(1), day(2))
    Bills.refused = november([4])
    outcome, code = await organization.run(day(9))
    assert code is ExitCode.CONFIG
    assert (outcome.error or "").endswith(
        "the provider gives no such old days (days 2026-11-03..2026-11-07 had been missed and are caught up and "
        "2026-11-02 are read again, as they were last read before their corrections had come; "
        "source.catch_up_days: 0 leaves them)"
    )
    _, code = await organization.run(day(9), catch_up_days=0)
    assert (code, organization.days()) == (ExitCode.OK, [1, 2, 8, 9])


async def test_a_preview_tells_the_missed_days(organization: Organization) -> None:
    await organization.run_named(day(1), day(2))
    document = organization.document(date="2026-11-09")
    processor = Bills(document.config, document.org_slug, document.run_id)
    told = await processor.preview(document.parameters)
    assert told == {
        "read": "2026-11-02..2026-11-09",
        "days": "2026-11-02..2026-11-09 (UTC), of which 2026-11-03..2026-11-07 had been missed and are caught up "
        "and 2026-11-02 are read again, as they were last read before their corrections had come",
        "write costs": f"{organization.dataset}.costs (US)",
        "write usage": f"{organization.dataset}.usage (US)",
    }


async def test_a_window_is_not_emptied_unless_its_days_are_named(organization: Organization) -> None:
    await organization.run_named(day(1), day(5))
    Bills.source = set()
    outcome, code = await organization.run(day(6))
    assert code is ExitCode.DATA
    assert (
        f"nothing was published: {organization.dataset}.costs has 1 rows for 2026-11-05..2026-11-06, and the source "
        "now has none at all; if that is right, a run that names the days" in (outcome.error or "")
    )
    assert organization.days() == organization.days("usage") == [1, 2, 3, 4, 5]
    _, code = await organization.run_named(day(5), day(6))
    assert (code, organization.days()) == (ExitCode.OK, [1, 2, 3, 4])
    # what is empty already stays so without a word
    _, code = await organization.run(day(7))
    assert (code, organization.days()) == (ExitCode.OK, [1, 2, 3, 4])


async def test_a_day_may_become_empty_while_others_of_its_window_have_rows(organization: Organization) -> None:
    await organization.run_named(day(1), day(5))
    Bills.source = november([6])
    _, code = await organization.run(day(6))
    assert (code, organization.days()) == (ExitCode.OK, [1, 2, 3, 4, 6])


async def test_days_read_again_that_the_provider_has_forgotten_stay(organization: Organization) -> None:
    for number in (1, 2):
        await organization.run(day(number), rescan_days=3)
    Bills.source = november([7, 8])
    with capture_logs() as logs:
        _, code = await organization.run(day(8), rescan_days=3)
    assert (code, Bills.asked[-1]) == (ExitCode.OK, "2026-11-01..2026-11-08")
    assert organization.days() == organization.days("usage") == [1, 2, 7, 8]
    kept = [(each["table"], each["days"]) for each in logs if "keep theirs" in each["event"]]
    assert sorted(kept) == [(f"{organization.dataset}.{name}", "2026-11-01..2026-11-02") for name in ("costs", "usage")]
    # once is enough; and days that have nothing to lose may stay empty though others are kept
    await organization.run(day(8), rescan_days=3)
    assert Bills.asked[-1] == "2026-11-06..2026-11-08"
    organization.sql(f"UPDATE `{organization.dataset}._pipelines_commits` SET read_at = '2026-11-02' WHERE TRUE")
    Bills.source = set()
    _, code = await organization.run(day(13), rescan_days=3)
    assert (code, organization.days()) == (ExitCode.OK, [1, 2, 7, 8])


async def test_a_second_attempt_at_a_run_that_caught_up_publishes_nothing(organization: Organization) -> None:
    await organization.run_named(day(1), day(2))
    document = organization.document(date="2026-11-09")
    ends = [await execute(document, Progress(), load=lambda _: Bills) for _ in range(2)]
    assert [outcome.records_processed for outcome, _ in ends] == [16, 16]
    assert len(Bills.asked) == 2
    assert organization.days() == list(range(1, 10))
