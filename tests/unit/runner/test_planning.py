"""A look at the source and the copy after it read the same rows: what narrows them is counted from the whole window."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.copying import Copy
from pipeline_runner.bigquery.planning import Plan, count_undated
from pipeline_runner.bigquery.publishing import Target
from pipeline_runner.bigquery.source import Source
from pipeline_runner.bigquery.window import Window
from pipeline_runner.processors.gcp.billing_export import ingested_since

TIME = Column("usage_start_time", "TIMESTAMP")
COLUMNS = (TIME, Column("billing_account_id", "STRING"), Column("export_time", "TIMESTAMP"), Column("cost", "FLOAT"))
SOURCE = Source("p.d.t", "p", "US", COLUMNS, TIME, is_table=True, by_ingestion=True)
LAST = date(2026, 11, 20)
WINDOW = Window(LAST - timedelta(days=9), LAST)
COPY = Copy(SOURCE, "", COLUMNS, COLUMNS, "US")
PLAN = Plan(SOURCE, Target("p.a.c", TIME, "US"), None, COPY, True, WINDOW, (WINDOW,), ingested_since).over(WINDOW)
WRITTEN_SINCE = "(_PARTITIONTIME >= TIMESTAMP '2026-10-07 00:00:00+00' OR _PARTITIONTIME IS NULL)"


def test_some_days_are_read_from_the_partitions_that_the_whole_window_was_looked_at_in() -> None:
    some = PLAN.only([date(2026, 11, 12), date(2026, 11, 19), date(2026, 11, 20)])
    assert some.windows == (Window(date(2026, 11, 12), date(2026, 11, 12)), Window(date(2026, 11, 19), LAST))
    assert some.copy.days == 3
    for condition in (PLAN.copy.condition, PLAN.surveyed, PLAN.undated, some.copy.condition):
        assert condition.endswith(f" AND {WRITTEN_SINCE}")


def test_a_charge_dated_a_month_ahead_is_read_wherever_its_day_stands_in_the_window() -> None:
    day, written = date(2026, 11, 30), date(2026, 10, 31)
    for place in range(10):
        first = day - timedelta(days=place)
        since = ingested_since(SOURCE, Window(first, first + timedelta(days=9)))
        assert Window.literal(written, "TIMESTAMP") >= since.split(" >= ")[1].split(" OR ")[0]


def test_a_window_that_reaches_back_reads_earlier_partitions() -> None:
    back = Window(WINDOW.first - timedelta(days=30), LAST)
    assert "_PARTITIONTIME >= TIMESTAMP '2026-09-07" in PLAN.over(back).copy.condition
    assert PLAN.over(back).copy.days == 40


def test_a_look_counts_rows_without_a_time() -> None:
    assert PLAN.surveyed.startswith(
        "(`usage_start_time` >= TIMESTAMP '2026-11-11 00:00:00+00' AND `usage_start_time` < TIMESTAMP "
        "'2026-11-21 00:00:00+00' OR `usage_start_time` IS NULL) AND "
    )


class Reader:
    """A source with seven rows that have no time; `asked` are the statements that look for them."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def query(self, _step: str, statement: str, **_: str) -> list[dict[str, Any]]:
        self.asked.append(statement)
        return [{"n": 7}]


async def test_rows_without_a_time_are_counted_in_the_partitions_of_the_window() -> None:
    reader = Reader()
    assert await count_undated(reader, PLAN) == 7  # type: ignore[arg-type]
    assert reader.asked == [
        f"SELECT COUNT(*) AS n FROM `p.d.t` AS s WHERE `usage_start_time` IS NULL AND {WRITTEN_SINCE}"
    ]


@pytest.mark.parametrize("source", [replace(SOURCE, is_table=False), replace(SOURCE, requires_filter=True)])
async def test_views_and_tables_that_require_a_filter_are_not_asked_for_rows_without_a_time(source: Source) -> None:
    plan, reader = replace(PLAN, source=source), Reader()
    assert await count_undated(reader, plan) == 0  # type: ignore[arg-type]
    assert reader.asked == []
    assert plan.surveyed == plan.copy.condition
