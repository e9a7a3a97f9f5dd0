"""Which days a run reads that names none: its own, those that a pause left out, and those that were read too early."""

from datetime import UTC, date, datetime, timedelta

import pytest

from pipeline_runner.bigquery.due_days import DueDays, LastRead, due_days, is_settled
from pipeline_runner.bigquery.window import Window

MORNING = timedelta(hours=6)


def november(*days: int) -> list[date]:
    return [date(2026, 11, day) for day in days]


def midnight(day: int, month: int = 11) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def by_runs_of(*days: int, rescan_days: int = 3) -> dict[date, datetime | None]:
    """What the scheduled runs of these days have read, each on the morning after its day."""
    read: dict[date, datetime | None] = {}
    for day in days:
        read |= dict.fromkeys(november(*range(max(day - rescan_days + 1, 1), day + 1)), midnight(day + 1) + MORNING)
    return read


def due(known: LastRead, *, catch_up_days: int = 90, rescan_days: int = 3, at_once: int = 14) -> DueDays:
    """Of the run of November 20th."""
    own = Window(date(2026, 11, 21 - rescan_days), date(2026, 11, 20))
    return due_days(own, known, catch_up_days=catch_up_days, rescan_days=rescan_days, at_once=at_once)


@pytest.mark.parametrize(
    ("runs", "rescan_days", "windows"),
    [
        # nothing was missed: nothing is known at all, or all there is
        ([], 3, "2026-11-18..2026-11-20"),
        (range(1, 20), 3, "2026-11-18..2026-11-20"),
        ([20], 3, "2026-11-18..2026-11-20"),
        ([19], 3, "2026-11-18..2026-11-20"),
        # a gap up to the run's own days, one with days after it, two of them
        (range(1, 17), 1, "2026-11-17..2026-11-20"),
        ([*range(1, 11), *range(15, 20)], 1, "2026-11-11..2026-11-14, 2026-11-20"),
        ([8, 10, 15], 1, "2026-11-09, 2026-11-11..2026-11-14, 2026-11-16..2026-11-20"),
        # the last readings of the days before the gap would have been in it
        (range(1, 16), 3, "2026-11-14..2026-11-20"),
        ([*range(1, 10), *range(12, 20)], 3, "2026-11-08..2026-11-09, 2026-11-18..2026-11-20"),
        # a pause that leaves no day out: the run of the 17th was the last, so that of the 20th reads what the 18th and
        # the 19th would have read
        (range(1, 18), 3, "2026-11-16..2026-11-20"),
        (range(1, 19), 3, "2026-11-17..2026-11-20"),
    ],
)
def test_the_days_that_a_run_reads(runs: list[int], rescan_days: int, windows: str) -> None:
    assert str(due(by_runs_of(*runs, rescan_days=rescan_days), rescan_days=rescan_days)) == windows


def test_days_that_were_read_by_hand_in_a_pause_hide_no_later_reading() -> None:
    """The runs of the 15th to the 17th were by hand, on the 18th: of the days before, they have read nothing."""
    known = by_runs_of(*range(1, 15)) | dict.fromkeys(november(15, 16, 17), midnight(18) + MORNING)
    found = due(known)
    assert (found.missed, found.again) == ((), tuple(november(13, 14, 16, 17)))


def test_days_that_were_not_over_when_they_were_read_are_read_again() -> None:
    """Somebody has copied all of November on the 3rd."""
    known = dict.fromkeys(november(*range(1, 31)), midnight(3))
    assert str(due(known, rescan_days=1)) == "2026-11-06..2026-11-20"
    assert str(due(known, rescan_days=1, at_once=90)) == "2026-11-03..2026-11-20"


def test_a_reading_that_nobody_knows_the_time_of_was_late_enough() -> None:
    assert str(due(dict.fromkeys(november(*range(1, 20))))) == "2026-11-18..2026-11-20"


def test_when_a_day_is_settled() -> None:
    (day,) = november(10)
    assert not is_settled(day, midnight(13) - timedelta(microseconds=1), 3)
    assert is_settled(day, midnight(13), 3)
    assert not is_settled(day, midnight(10) + timedelta(hours=23), 1)
    assert is_settled(day, midnight(11), 1)


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
    assert str(due(by_runs_of(8, 9, 10), catch_up_days=catch_up_days)) == windows


def test_the_newest_of_many_come_first_and_nothing_is_forgotten() -> None:
    known = by_runs_of(1, 2, 3)
    told = []
    while not told or told[-1][1]:
        found = due(known, at_once=6)
        told.append((str(found), len(found.left)))
        known |= {day: midnight(21) for window in found.windows for day in window.days()}
    assert told == [
        ("2026-11-12..2026-11-20", 10),
        ("2026-11-06..2026-11-11, 2026-11-18..2026-11-20", 4),
        ("2026-11-02..2026-11-05, 2026-11-18..2026-11-20", 0),
    ]
    assert str(due(known)) == "2026-11-18..2026-11-20"


def test_why_there_are_days_before_the_runs_own() -> None:
    assert due(by_runs_of(18, 19, 20)).reason == ""
    assert due(by_runs_of(13, 14, 15)).reason == (
        "2026-11-16..2026-11-17 had been missed and are caught up and 2026-11-14..2026-11-15 are read again, as they "
        "were last read before their corrections had come"
    )
    assert due(by_runs_of(15, 16, 17)).reason == (
        "2026-11-16..2026-11-17 are read again, as they were last read before their corrections had come"
    )
