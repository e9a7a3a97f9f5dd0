"""When a schedule fires: clocks set forward and back, zones that change their offset, and how much is searched for it.

Expected instants are written out by hand, in UTC: month, day, hour and minute.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_core.schedules.timetable import Timetable

# Zone, expression, year, from when on (not included), until when (included), the ticks.
TABLE = [
    # Madrid, 2026-03-29: at 01:00 UTC the clocks go from 02:00 to 03:00.
    ("Europe/Madrid", "30 2 * * *", 2026, "03-28 00:00", "03-30 12:00",
     ["03-28 01:30", "03-29 01:00", "03-30 00:30"]),
    ("Europe/Madrid", "*/15 2 * * *", 2026, "03-28 01:30", "03-30 00:15",
     ["03-28 01:45", "03-29 01:00", "03-30 00:00", "03-30 00:15"]),
    ("Europe/Madrid", "0 * * * *", 2026, "03-28 23:00", "03-29 02:00",
     ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
    ("Europe/Madrid", "0 2,3 * * *", 2026, "03-29 00:00", "03-30 02:00",
     ["03-29 01:00", "03-30 00:00", "03-30 01:00"]),
    ("Europe/Madrid", "59 1,2 * * *", 2026, "03-29 00:00", "03-29 23:00",
     ["03-29 00:59", "03-29 01:00"]),
    ("Europe/Madrid", "30 2 29 3 *", 2026, "01-01 00:00", "12-31 00:00",
     ["03-29 01:00"]),
    # Madrid, 2026-10-25: at 01:00 UTC the clocks go from 03:00 to 02:00.
    ("Europe/Madrid", "30 2 * * *", 2026, "10-24 00:00", "10-26 12:00",
     ["10-24 00:30", "10-25 00:30", "10-26 01:30"]),
    ("Europe/Madrid", "0 * * * *", 2026, "10-24 22:30", "10-25 03:00",
     ["10-24 23:00", "10-25 00:00", "10-25 02:00", "10-25 03:00"]),
    ("Europe/Madrid", "*/30 * * * *", 2026, "10-24 23:30", "10-25 02:30",
     ["10-25 00:00", "10-25 00:30", "10-25 02:00", "10-25 02:30"]),
    ("Europe/Madrid", "0 3 * * *", 2026, "10-24 12:00", "10-26 12:00",
     ["10-25 02:00", "10-26 02:00"]),
    # New York, 2026-03-08: at 07:00 UTC from 02:00 to 03:00; 2026-11-01: at 06:00 UTC from 02:00 to 01:00.
    ("America/New_York", "30 2 * * *", 2026, "03-07 00:00", "03-09 12:00",
     ["03-07 07:30", "03-08 07:00", "03-09 06:30"]),
    ("America/New_York", "30 1 * * *", 2026, "10-31 00:00", "11-02 12:00",
     ["10-31 05:30", "11-01 05:30", "11-02 06:30"]),
    ("America/New_York", "0 9 * * 1-5", 2026, "10-30 00:00", "11-02 23:00",
     ["10-30 13:00", "11-02 14:00"]),
    # Lord Howe, half an hour: 2026-10-03 at 15:30 UTC, 02:00 to 02:30; 2026-04-04 at 15:00 UTC, 02:00 to 01:30.
    ("Australia/Lord_Howe", "15 2 * * *", 2026, "10-02 12:00", "10-05 12:00",
     ["10-02 15:45", "10-03 15:30", "10-04 15:15"]),
    ("Australia/Lord_Howe", "0,20,40 2 * * *", 2026, "10-03 12:00", "10-04 12:00",
     ["10-03 15:30", "10-03 15:40"]),
    ("Australia/Lord_Howe", "45 1 * * *", 2026, "04-03 12:00", "04-06 12:00",
     ["04-03 14:45", "04-04 14:45", "04-05 15:15"]),
    ("Australia/Lord_Howe", "*/20 * * * *", 2026, "04-04 14:00", "04-04 16:00",
     ["04-04 14:20", "04-04 14:40", "04-04 15:30", "04-04 15:50"]),
    # Troll, two hours: 2026-03-29 at 01:00 UTC, 01:00 to 03:00; 2026-10-25 at 01:00 UTC, 03:00 to 01:00.
    ("Antarctica/Troll", "30 1,2 * * *", 2026, "03-28 01:30", "03-30 00:30",
     ["03-28 02:30", "03-29 01:00", "03-29 23:30", "03-30 00:30"]),
    ("Antarctica/Troll", "0 * * * *", 2026, "10-24 22:30", "10-25 04:00",
     ["10-24 23:00", "10-25 00:00", "10-25 03:00", "10-25 04:00"]),
    # At midnight. Beirut: 2026-03-29 begins at 01:00; 2026-10-24 has the hour from 23:00 twice.
    ("Asia/Beirut", "0 0 * * *", 2026, "03-27 12:00", "03-30 12:00",
     ["03-27 22:00", "03-28 22:00", "03-29 21:00"]),
    ("Asia/Beirut", "@daily", 2026, "10-23 12:00", "10-26 12:00",
     ["10-23 21:00", "10-24 22:00", "10-25 22:00"]),
    ("Asia/Beirut", "30 23 * * *", 2026, "10-23 12:00", "10-26 12:00",
     ["10-23 20:30", "10-24 20:30", "10-25 21:30"]),
    ("Asia/Beirut", "30 23 24 10 *", 2026, "01-01 00:00", "12-31 00:00",
     ["10-24 20:30"]),
    ("Asia/Beirut", "0 0 29 3 *", 2026, "01-01 00:00", "12-31 00:00",
     ["03-28 22:00"]),
    ("America/Asuncion", "@daily", 2023, "09-29 12:00", "10-02 12:00",
     ["09-30 04:00", "10-01 04:00", "10-02 03:00"]),
    ("Africa/Cairo", "0 0 * * 5", 2026, "04-10 00:00", "05-01 12:00",
     ["04-16 22:00", "04-23 22:00", "04-30 21:00"]),
    # Casablanca, an hour back for Ramadan: from 2026-02-15 02:00 UTC (03:00 to 02:00) to 2026-03-22 02:00 UTC.
    ("Africa/Casablanca", "30 2 * * *", 2026, "02-14 00:00", "02-16 12:00",
     ["02-14 01:30", "02-15 01:30", "02-16 02:30"]),
    ("Africa/El_Aaiun", "30 2 * * *", 2026, "03-21 00:00", "03-23 12:00",
     ["03-21 02:30", "03-22 02:00", "03-23 01:30"]),
    # Another offset for good. Almaty: 2024-02-29 at 18:00 UTC, 24:00 to 23:00. Volgograd: 2020-12-26 at 22:00 UTC,
    # 02:00 to 01:00.
    ("Asia/Almaty", "30 23 * * *", 2024, "02-28 00:00", "03-02 00:00",
     ["02-28 17:30", "02-29 17:30", "03-01 18:30"]),
    ("Asia/Almaty", "0 0 1 3 *", 2024, "01-01 00:00", "12-31 00:00",
     ["02-29 19:00"]),
    ("Europe/Volgograd", "30 1 * * *", 2020, "12-25 12:00", "12-28 12:00",
     ["12-25 21:30", "12-26 21:30", "12-27 22:30"]),
    # A whole day that Apia hasn't had: 2011-12-30.
    ("Pacific/Apia", "0 */12 * * *", 2011, "12-29 12:00", "12-31 00:00",
     ["12-29 22:00", "12-30 10:00", "12-30 22:00"]),
    # Clocks that are never changed.
    ("Asia/Kolkata", "0 9 * * *", 2026, "03-28 00:00", "03-30 00:00",
     ["03-28 03:30", "03-29 03:30"]),
    ("Etc/UTC", "30 2 * * *", 2026, "03-28 12:00", "03-30 12:00",
     ["03-29 02:30", "03-30 02:30"]),
    ("Etc/GMT+5", "0 0 L * *", 2028, "02-01 05:00", "04-01 00:00",
     ["02-29 05:00", "03-31 05:00"]),
    # What the fields mean.
    ("Etc/UTC", "0 0 13 * 5", 2026, "11-05 00:00", "11-20 00:00",
     ["11-06 00:00", "11-13 00:00", "11-20 00:00"]),
    ("Etc/UTC", "0 0 15,L * 0", 2026, "11-12 00:00", "12-05 00:00",
     ["11-15 00:00", "11-22 00:00", "11-29 00:00", "11-30 00:00"]),
    ("Etc/UTC", "0 0 1-31/10 * 1", 2026, "11-01 00:00", "11-16 00:00",
     ["11-02 00:00", "11-09 00:00", "11-11 00:00", "11-16 00:00"]),
    ("Etc/UTC", "0 0 * * fri#2,l5", 2026, "11-01 00:00", "12-01 00:00",
     ["11-13 00:00", "11-27 00:00"]),
    ("Etc/UTC", "0 0 * * 6-7", 2026, "11-16 00:00", "11-28 00:00",
     ["11-21 00:00", "11-22 00:00", "11-28 00:00"]),
    ("Etc/UTC", "0 22-1 * * *", 2026, "11-16 00:00", "11-16 23:00",
     ["11-16 01:00", "11-16 22:00", "11-16 23:00"]),
    ("Etc/UTC", "50/5 0 1 nov-jan *", 2026, "02-01 00:00", "11-30 00:00",
     ["11-01 00:50", "11-01 00:55"]),
    ("Etc/UTC", "@weekly", 2026, "11-16 00:00", "11-30 00:00",
     ["11-22 00:00", "11-29 00:00"]),
    ("Etc/UTC", "@yearly", 2026, "01-01 00:00", "12-31 23:59",
     []),
]  # fmt: skip

DAY = timedelta(days=1)


def at(text: str, year: int = 2026) -> datetime:
    return datetime.fromisoformat(f"{year}-{text}").replace(tzinfo=UTC)


def by_next(timetable: Timetable, after: datetime, until: datetime) -> Iterator[datetime]:
    tick = timetable.next(after)
    while tick is not None and tick <= until:
        yield tick
        tick = timetable.next(tick)


@pytest.mark.parametrize(("zone", "expression", "year", "after", "until", "ticks"), TABLE)
def test_the_ticks_are_these(zone: str, expression: str, year: int, after: str, until: str, ticks: list[str]) -> None:
    timetable = Timetable(expression, zone)
    begin, end = at(after, year), at(until, year)
    expected = [at(tick, year) for tick in ticks]
    assert timetable.upcoming(begin, end, 100) == expected
    assert timetable.last(begin, end, 100) == expected
    assert timetable.count(begin, end, 100) == len(expected)
    assert list(by_next(timetable, begin, end)) == expected


NEXT = [
    # The gap of Madrid: it begins and ends at 01:00 UTC.
    ("30 2 * * *", "03-29 00:59:59", "03-29 01:00"),
    ("30 2 * * *", "03-29 00:59:59.999999", "03-29 01:00"),
    ("30 2 * * *", "03-29 01:00:00", "03-30 00:30"),
    ("30 2 * * *", "03-29 01:00:00.000001", "03-30 00:30"),
    ("0 3 * * *", "03-29 01:00:00", "03-30 01:00"),
    ("1 3 * * *", "03-29 01:00:00", "03-29 01:01"),
    # The overlap: local 02:00 to 03:00 from 00:00 and from 01:00 UTC.
    ("30 2 * * *", "10-25 00:29:59.999999", "10-25 00:30"),
    ("30 2 * * *", "10-25 00:30:00", "10-26 01:30"),
    ("30 2 * * *", "10-25 01:00:00", "10-26 01:30"),
    ("30 2 * * *", "10-25 01:29:00", "10-26 01:30"),
    ("30 2 * * *", "10-25 01:31:00", "10-26 01:30"),
    ("*/5 * * * *", "10-25 00:55:00", "10-25 02:00"),
    ("*/5 * * * *", "10-25 01:00:00", "10-25 02:00"),
    ("*/5 * * * *", "10-25 01:07:30.5", "10-25 02:00"),
    ("*/5 * * * *", "10-25 01:59:59.999999", "10-25 02:00"),
    ("*/5 * * * *", "10-25 02:00:00", "10-25 02:05"),
]


@pytest.mark.parametrize(("expression", "after", "tick"), NEXT)
def test_the_next_tick_from_within_a_change_of_the_clocks(expression: str, after: str, tick: str) -> None:
    assert Timetable(expression, "Europe/Madrid").next(at(after)) == at(tick)


NEWEST = [
    ("30 2 * * *", "03-29 00:59:59.999999", "03-28 01:30"),
    ("30 2 * * *", "03-29 01:00:00", "03-29 01:00"),
    ("30 2 * * *", "03-29 01:00:00.000001", "03-29 01:00"),
    ("*/5 * * * *", "10-25 00:59:59", "10-25 00:55"),
    ("*/5 * * * *", "10-25 01:00:00", "10-25 00:55"),
    ("*/5 * * * *", "10-25 01:29:00", "10-25 00:55"),
    ("*/5 * * * *", "10-25 01:59:59.999999", "10-25 00:55"),
    ("*/5 * * * *", "10-25 02:00:00", "10-25 02:00"),
    ("10 2 * * *", "10-25 01:05:00", "10-25 00:10"),
]


@pytest.mark.parametrize(("expression", "until", "tick"), NEWEST)
def test_the_newest_tick_from_within_a_change_of_the_clocks(expression: str, until: str, tick: str) -> None:
    assert Timetable(expression, "Europe/Madrid").last(at("01-01 00:00"), at(until), 1) == [at(tick)]


def test_instants_of_any_zone_are_taken_and_utc_is_answered() -> None:
    timetable = Timetable("0 * * * *", "Asia/Tokyo")
    tick = timetable.next(datetime.fromisoformat("2026-11-22T10:00:00+05:30"))
    assert tick == at("11-22 05:00")
    assert tick is not None
    assert tick.tzinfo is UTC


def test_bounds_and_limits() -> None:
    timetable = Timetable("0 * * * *", "Etc/UTC")
    begin, end = at("11-22 03:00"), at("11-22 06:00")
    four, five, six = at("11-22 04:00"), at("11-22 05:00"), end
    assert timetable.upcoming(begin, end, 10) == timetable.last(begin, end, 10) == [four, five, six]
    assert timetable.upcoming(begin, end, 2) == [four, five]
    assert timetable.last(begin, end, 2) == [five, six]
    assert timetable.count(begin, end, 2) == 2
    for after, until, limit in ((end, end, 10), (end, begin, 10), (begin, end, 0)):
        assert timetable.upcoming(after, until, limit) == timetable.last(after, until, limit) == []
        assert timetable.count(after, until, limit) == 0


def test_the_calendar_ends() -> None:
    never, ever = datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)
    for zone in ("Etc/UTC", "America/New_York", "Pacific/Kiritimati"):
        for expression in ("* * * * *", "0 0 29 2 *", "0 0 * 2 1#5"):
            timetable = Timetable(expression, zone)
            assert timetable.next(never) is None
            assert timetable.upcoming(never - DAY, never, 5) == []
            assert timetable.last(ever, datetime(1970, 1, 1, tzinfo=UTC), 5) == []
            [newest] = timetable.last(ever, never, 1)
            assert newest.year > 9800
            first = timetable.next(ever)
            assert first is not None
            assert datetime(1970, 1, 1, tzinfo=UTC) < first < datetime(1990, 1, 1, tzinfo=UTC)


def test_a_leap_day_is_waited_for() -> None:
    timetable = Timetable("0 0 29 2 *", "Etc/UTC")
    ticks = timetable.upcoming(datetime(2093, 1, 1, tzinfo=UTC), datetime(2110, 1, 1, tzinfo=UTC), 5)
    assert [tick.year for tick in ticks] == [2096, 2104, 2108]


@pytest.mark.parametrize(
    ("expression", "zone", "words"),
    [("* * * *", "Etc/UTC", "^five fields such as"), ("* * * * *", "Local", "^a name of the IANA")],
)
def test_what_is_no_timetable_is_refused(expression: str, zone: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Timetable(expression, zone)


def test_the_newest_ticks_cost_what_the_limit_is(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = 0
    search = Timetable._search

    def counted(self: Timetable, wall: datetime, *, forward: bool) -> datetime | None:
        nonlocal searches
        searches += 1
        return search(self, wall, forward=forward)

    monkeypatch.setattr(Timetable, "_search", counted)
    until = at("11-22 03:00")
    for days in (30, 10_000):
        searches = 0
        ticks = Timetable("* * * * *", "Europe/Madrid").last(until - days * DAY, until, 1_001)
        assert (len(ticks), ticks[0], ticks[-1]) == (1_001, until - timedelta(minutes=1_000), until)
        assert searches <= 1_002
    searches = 0
    assert Timetable("* * * * *", "Etc/UTC").count(until - 30 * DAY, until, 500) == 500
    assert searches <= 501


def test_threads_may_share_one() -> None:
    timetable = Timetable("*/7 * * * *", "Europe/Madrid")
    begins = [at("01-01 00:00") + number * DAY for number in range(8)]
    expected = [timetable.upcoming(begin, begin + DAY, 300) for begin in begins]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda begin: timetable.upcoming(begin, begin + DAY, 300), begins)) == expected
