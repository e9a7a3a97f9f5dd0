"""Which days a run reads that names none: its own, those that a pause left out, and those whose corrections it kept."""

from datetime import date

import pytest

from pipeline_runner.bigquery.due_days import DueDays, due_days
from pipeline_runner.bigquery.window import Window


def november(*days: int) -> list[date]:
    return [date(2026, 11, day) for day in days]


def due(known: list[date], *, catch_up_days: int = 90, rescan_days: int = 3, at_once: int = 14) -> DueDays:
    """Of the run of November 20th."""
    own = Window(date(2026, 11, 21 - rescan_days), date(2026, 11, 20))
    return due_days(own, known, catch_up_days=catch_up_days, rescan_days=rescan_days, at_once=at_once)


@pytest.mark.parametrize(
    ("known", "rescan_days", "windows"),
    [
        # nothing was missed: nothing is known at all, or all there is
        ([], 3, "2026-11-18..2026-11-20"),
        (november(*range(1, 20)), 3, "2026-11-18..2026-11-20"),
        (november(18, 19, 20), 3, "2026-11-18..2026-11-20"),
        (november(19), 3, "2026-11-18..2026-11-20"),
        # a gap up to the run's own days, one with days after it, two of them
        (november(14, 15, 16), 1, "2026-11-17..2026-11-20"),
        (november(8, 9, 10, 15, 16, 17, 18, 19), 1, "2026-11-11..2026-11-14, 2026-11-20"),
        (november(8, 10, 15), 1, "2026-11-09, 2026-11-11..2026-11-14, 2026-11-16..2026-11-20"),
        # the rescans of the days before the gap fell into it, but not those of days that were never published
        (november(11, 12, 13, 14, 15), 3, "2026-11-14..2026-11-20"),
        (november(15), 3, "2026-11-15..2026-11-20"),
        (november(*range(1, 10), *range(12, 20)), 3, "2026-11-08..2026-11-11, 2026-11-18..2026-11-20"),
        # a pause that leaves no day out: the run of the 17th was the last, so that of the 20th reads what the 18th and
        # the 19th would have read
        (november(*range(1, 18)), 3, "2026-11-16..2026-11-20"),
        (november(*range(1, 19)), 3, "2026-11-17..2026-11-20"),
    ],
)
def test_the_days_that_a_run_reads(known: list[date], rescan_days: int, windows: str) -> None:
    assert str(due(known, rescan_days=rescan_days)) == windows


@pytest.mark.parametrize(
    ("catch_up_days", "windows"),
    [
        (8, "2026-11-13..2026-11-20"),
        (4, "2026-11-17..2026-11-20"),
        (3, "2026-11-18..2026-11-20"),
        (0, "2026-11-18..2026-11-20"),
    ],
)
def test_no_further_back_than_the_config_says(catch_up_days: int, windows: str) -> None:
    assert str(due(november(8, 9, 10), catch_up_days=catch_up_days)) == windows


def test_the_newest_of_many_missed_days_come_first_and_the_oldest_bring_those_before_the_gap() -> None:
    known = set(november(1, 2, 3))
    told = []
    while not told or told[-1][1]:
        found = due(sorted(known), at_once=5)
        told.append((str(found), len(found.left)))
        known |= {day for window in found.windows for day in window.days()}
    assert told == [
        ("2026-11-13..2026-11-20", 9),
        ("2026-11-08..2026-11-12, 2026-11-18..2026-11-20", 4),
        ("2026-11-02..2026-11-07, 2026-11-18..2026-11-20", 0),
    ]
    assert str(due(sorted(known))) == "2026-11-18..2026-11-20"


def test_why_there_are_days_before_the_runs_own() -> None:
    assert due(november(18, 19)).reason == ""
    assert due(november(13, 14, 15)).reason == (
        "2026-11-16..2026-11-17 had been missed and are caught up and 2026-11-14..2026-11-15 are read again, as "
        "corrections of them fell into a pause"
    )
    assert due(november(15, 16, 17)).reason == (
        "2026-11-16..2026-11-17 are read again, as corrections of them fell into a pause"
    )
