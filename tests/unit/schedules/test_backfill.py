"""The range of a backfill: what its bounds mean, how many runs it is, and what is said of one that can't be."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_core.schedules.backfill import MAX_TICKS, default_id, parse_bound, plan_backfill
from pipeline_core.schedules.ids import BACKFILL_ID
from pipeline_core.schedules.observed import BackfillSpec
from pipeline_core.schedules.timetable import Timetable

NOW = datetime(2026, 11, 22, 3, 0, 30, tzinfo=UTC)
DAILY = Timetable("0 6 * * *", "Etc/UTC")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "zone", "is_end", "expected"),
    [
        ("2026-10-01", "Etc/UTC", False, "2026-10-01T00:00:00Z"),
        ("2026-10-01", "Etc/UTC", True, "2026-10-01T23:59:59Z"),
        ("2026-10-01", "Europe/Madrid", False, "2026-09-30T22:00:00Z"),
        ("2026-10-01", "Europe/Madrid", True, "2026-10-01T21:59:59Z"),
        ("2026-10-25", "Europe/Madrid", True, "2026-10-25T22:59:59Z"),  # 25 hours long
        ("2018-11-04", "America/Sao_Paulo", False, "2018-11-04T03:00:00Z"),  # begins at 01:00
        ("2026-12-31", "Etc/UTC", True, "2026-12-31T23:59:59Z"),
        ("2026-10-01T06:00:00Z", "Europe/Madrid", False, "2026-10-01T06:00:00Z"),
        ("2026-10-01T06:00:00Z", "Europe/Madrid", True, "2026-10-01T06:00:00Z"),
        ("2026-10-01T06:00:00.5+02:00", "Etc/UTC", False, "2026-10-01T04:00:00.500000Z"),
    ],
)
def test_what_a_bound_means(text: str, zone: str, is_end: bool, expected: str) -> None:
    assert parse_bound(text, zone, is_end=is_end) == at(expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'', expected a day (2026-10-01) or a time with its offset (2026-10-01T06:00:00Z)"),
        ("yesterday", "'yesterday', expected a day"),
        ("2026-10-01T06:00:00", "'2026-10-01T06:00:00', expected a day"),
        ("2026-10-01 06:00:00Z", "expected a day"),
        ("2026-02-30", "'2026-02-30', expected a day of the calendar"),
        ("2026-10-01T25:00:00Z", "'2026-10-01T25:00:00Z', expected a day"),
        ("0001-01-01T00:00:00+14:00", "of the years 1970 to 9998"),
        ("1969-12-31", "1970 to 9998"),
        ("9999-12-31", "1970 to 9998"),
        ("२०२६-10-01", "expected a day"),
        ("9" * 5_000, "(5000 characters)"),
    ],
)
def test_a_bound_that_cant_be_read_is_told(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_bound(text, "Etc/UTC", is_end=False)


def test_a_zone_that_isnt_one_is_told() -> None:
    for zone in ("Europe/Madird", "Europe", "../etc", ""):
        with pytest.raises(ValueError, match=r"expected a zone of the IANA database"):
            parse_bound("2026-10-01", zone, is_end=False)


@pytest.mark.parametrize(
    ("first", "last", "total", "first_tick", "last_tick"),
    [
        ("2026-10-01", "2026-10-31", 31, "2026-10-01T06:00:00Z", "2026-10-31T06:00:00Z"),
        ("2026-10-01", "2026-10-01", 1, "2026-10-01T06:00:00Z", "2026-10-01T06:00:00Z"),
        ("2026-10-01T06:00:00Z", "2026-10-02T06:00:00Z", 2, "2026-10-01T06:00:00Z", "2026-10-02T06:00:00Z"),
        ("2026-10-01T06:00:01Z", "2026-10-02T05:59:59Z", 0, None, None),
        ("2026-10-01T06:00:00Z", "2026-10-01T06:00:00Z", 1, "2026-10-01T06:00:00Z", "2026-10-01T06:00:00Z"),
        ("2026-10-01T08:00:00+02:00", "2026-10-02", 2, "2026-10-01T06:00:00Z", "2026-10-02T06:00:00Z"),
    ],
)
def test_both_ends_are_in_the_range(
    first: str, last: str, total: int, first_tick: str | None, last_tick: str | None
) -> None:
    plan = plan_backfill(BackfillSpec("x", first, last), DAILY, "Etc/UTC", NOW)
    assert (plan.total, plan.left_out) == (total, 0)
    assert plan.first == (at(first_tick) if first_tick else None)
    assert plan.last == (at(last_tick) if last_tick else None)


@pytest.mark.parametrize(("first", "total", "left_out"), [("2026-11-20", 2, 9), ("2026-11-23", 0, 8)])
def test_ticks_to_come_are_left_out(first: str, total: int, left_out: int) -> None:
    plan = plan_backfill(BackfillSpec("x", first, "2026-11-30"), DAILY, "Etc/UTC", NOW)
    assert (plan.total, plan.left_out) == (total, left_out)
    assert plan.end == at("2026-11-30T23:59:59Z")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (BackfillSpec("x", "october", "2026-10-31"), "from: 'october', expected a day"),
        (BackfillSpec("x", "2026-10-01", "2026-10-32"), "to: '2026-10-32', expected a day"),
        (BackfillSpec("x", "2026-10-02", "2026-10-01"), "to: '2026-10-01', expected no earlier than from"),
    ],
)
def test_a_range_that_cant_be_is_told_by_its_field(spec: BackfillSpec, words: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        plan_backfill(spec, DAILY, "Etc/UTC", NOW)


def test_a_range_of_too_many_ticks_is_refused() -> None:
    every_minute = Timetable("* * * * *", "Etc/UTC")
    end = at("2026-10-01T00:00:00Z") + timedelta(minutes=MAX_TICKS - 1)
    spec = BackfillSpec("x", "2026-10-01", end.isoformat())
    assert plan_backfill(spec, every_minute, "Etc/UTC", NOW).total == MAX_TICKS
    spec = BackfillSpec("x", "2026-10-01", (end + timedelta(minutes=1)).isoformat())
    with pytest.raises(ValueError, match=r"^to: .*, expected at most 5000 ticks"):
        plan_backfill(spec, every_minute, "Etc/UTC", NOW)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("2026-10-01", "2026-10-31", "20261001-20261031"),
        ("2026-10-01T06:00:00Z", "2026-10-01T18:00:00Z", "20261001t0600z-20261001t1800z"),
        ("2026-10-01T06:00:00+02:00", "2026-10-02", "20261001t0400z-20261002"),
        ("october", "2026-10-31", "range-"),
    ],
)
def test_a_backfill_without_an_id_has_one_of_its_range(first: str, last: str, expected: str) -> None:
    found = default_id(first, last)
    assert found.startswith(expected)
    assert BACKFILL_ID.fullmatch(found)
