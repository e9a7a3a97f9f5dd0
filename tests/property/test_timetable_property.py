"""The ticks of every zone of the IANA database agree with an oracle that is made of other things.

The oracle reads expressions with cronsim, on naive local times, and maps them by walking through UTC minute by minute,
looking at the clock: a local time happens at the first minute at which the clock shows it, or a later one. That states
what is promised of gaps and overlaps without offsets or folds.

Expressions are drawn of what is accepted. Two spellings that cronsim doesn't know are written out for it: ranges that
go on past the end (`fri-mon`), and `L5`, which is `5L` there. Both days beside each other mean either in both programs,
except where one begins with `*`: cronsim then wants both, as vixie cron does, and such expressions are refused.
"""

import zoneinfo
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice, pairwise, takewhile

import pytest
from cronsim import CronSim
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pipeline_core.schedules.cron import check_cron_expression, time_zones
from pipeline_core.schedules.timetable import Timetable

BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ZONES = sorted(time_zones())

# The oracle.


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """The minutes of 2020 to 2037 at which the zone's offset becomes another, in UTC."""
    info, found = zoneinfo.ZoneInfo(zone), []
    for start in range(int(BEGIN.timestamp()) // 60, int(END.timestamp()) // 60, 720):
        low, high = start, start + 720
        if offset(info, low) == offset(info, high):
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(info, middle) == offset(info, low) else (low, middle)
        found.append(datetime.fromtimestamp(high * 60, UTC))
    return tuple(found)


def offset(info: zoneinfo.ZoneInfo, minute: int) -> timedelta | None:
    return datetime.fromtimestamp(minute * 60, info).utcoffset()


class Clock:
    """What the clock of a zone shows for the first time at each minute of [begin, end)."""

    def __init__(self, zone: str, begin: datetime, end: datetime) -> None:
        info = zoneinfo.ZoneInfo(zone)
        self.news: list[tuple[datetime, datetime, datetime]] = []
        # What it showed before the first minute may have been shown before: no change of a clock is longer than this.
        instant = begin - 6 * HOUR
        latest = instant.astimezone(info).replace(tzinfo=None)
        while (instant := instant + MINUTE) < end:
            shown = instant.astimezone(info).replace(tzinfo=None)
            if shown > latest:
                if instant >= begin:
                    self.news.append((instant, latest, shown))
                latest = shown

    def ticks(self, expression: str) -> list[datetime]:
        """The minutes with a local time of the expression that is new: after the latest before, up to what is shown."""
        first, last = self.news[0][1], self.news[-1][2]
        local = list(takewhile(lambda found: found <= last, CronSim(expression, first)))
        return [
            instant for instant, before, shown in self.news if bisect_right(local, shown) > bisect_right(local, before)
        ]


# What is drawn.


@dataclass(frozen=True)
class Cron:
    """An expression, and how it is spelled for the oracle."""

    text: str
    oracle: str

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Field:
    first: int
    end: int
    most: int
    names: tuple[str, ...] = ()


MINUTES, HOURS, DAYS = Field(0, 59, 59), Field(0, 23, 23), Field(1, 31, 31)
MONTHS = Field(1, 12, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"))
WEEKDAYS = Field(0, 6, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))


@st.composite
def values(draw: st.DrawFn, field: Field, number: int | None = None) -> tuple[int, str]:
    """A number of the field, and one of its spellings."""
    number = draw(st.integers(field.first, field.most)) if number is None else number
    if field.names and draw(st.booleans()):
        name = field.names[(number - field.first) % len(field.names)]
        return number, draw(st.sampled_from([name, name.upper(), name.title()]))
    return number, draw(st.sampled_from([str(number), f"{number:02}"]))


@st.composite
def items(draw: st.DrawFn, field: Field) -> tuple[str, str]:
    """One item of a field's list, and how it is spelled for the oracle."""
    low, low_text = draw(values(field))
    kind = draw(st.sampled_from(["one", "one", "every", "from", "range", "range", "steps"]))
    step = draw(st.integers(1, field.end - field.first + 1))
    if kind == "one":
        return low_text, str(low)
    if kind == "every":
        return f"*/{step}", f"{field.first}-{field.end}/{step}"
    if kind == "from":
        assume(low <= field.end)
        return f"{low_text}/{step}", f"{low}-{field.end}/{step}"
    high, high_text = draw(values(field))
    size = field.end - field.first + 1
    text = f"{low_text}-{high_text}"
    if low < high:
        # Sunday's name is its 0, which a range can't end with unless it goes on past Saturday.
        assume(not (high == 7 and not high_text.isdigit() and kind == "steps"))
        assume(not (low == 0 and high == 7 and not high_text.isdigit()))
        return (f"{text}/{step}", f"{low}-{high}/{step}") if kind == "steps" else (text, f"{low}-{high}")
    assume(low % size != high % size and kind == "range")
    low = 0 if low == 7 and field is WEEKDAYS else low
    return text, f"{low}-{high}" if low <= high else f"{low}-{field.end},{field.first}-{high}"


def lists(field: Field) -> st.SearchStrategy[tuple[str, str]]:
    def joined(found: list[tuple[str, str]]) -> tuple[str, str]:
        return ",".join(text for text, _ in found), ",".join(spelled for _, spelled in found)

    return st.lists(items(field), min_size=1, max_size=3).map(joined)


def fields(field: Field) -> st.SearchStrategy[tuple[str, str]]:
    return st.just(("*", "*")) | lists(field)


@st.composite
def weekdays_of_month(draw: st.DrawFn) -> tuple[str, str]:
    number, text = draw(values(WEEKDAYS))
    if draw(st.booleans()):
        nth = draw(st.integers(1, 5))
        return f"{number if text.isdigit() else text}#{nth}", f"{number}#{nth}"
    return f"L{number}", f"{number}L"


@st.composite
def days(draw: st.DrawFn) -> tuple[tuple[str, str], tuple[str, str]]:
    """Day of the month and day of the week."""
    every = ("*", "*")
    kind = draw(st.sampled_from(["neither", "month", "last", "week", "nth", "either"]))
    last = draw(st.sampled_from([("L", "L"), ("l", "L"), ("15,L", "15,L"), ("1-3,l", "1-3,L")]))
    if kind == "neither":
        return every, every
    if kind == "month":
        return draw(lists(DAYS)), every
    if kind == "last":
        return last, every
    if kind == "week":
        return every, draw(lists(WEEKDAYS))
    if kind == "nth":
        found = draw(st.lists(weekdays_of_month(), min_size=1, max_size=3))
        return every, (",".join(text for text, _ in found), ",".join(spelled for _, spelled in found))
    month = draw(lists(DAYS).filter(lambda field: "*" not in field[0]) | st.just(last))
    return month, draw(lists(WEEKDAYS).filter(lambda field: "*" not in field[0]))


@st.composite
def crons(draw: st.DrawFn, *, around: datetime | None = None) -> Cron:
    """An expression that is accepted; one that fires near the local time `around`, where that is given."""
    minute, hour = draw(fields(MINUTES)), draw(fields(HOURS))
    (day, weekday), month = draw(days()), draw(fields(MONTHS))
    if around is not None:
        near = {(around + shift * HOUR).hour for shift in (-2, -1, 0, 1)}
        some = st.lists(st.sampled_from(sorted(near)), min_size=1, max_size=3)
        hour = draw(st.just(hour) | some.map(lambda found: (",".join(map(str, found)),) * 2))
        # Most of all expressions wouldn't fire on that day.
        if draw(st.integers(0, 3)):
            month, weekday = ("*", "*"), ("*", "*")
            day = draw(st.sampled_from([("*", "*"), (str(around.day),) * 2, ("L", "L")]))
    text, spelled = (" ".join(part) for part in zip(minute, hour, day, month, weekday, strict=True))
    try:
        assert check_cron_expression(text) == text
    except ValueError as error:
        # The one thing that is drawn and not accepted.
        assert "names a day that never comes" in str(error)  # noqa: PT017
        assume(False)
    return Cron(text, spelled)


def instants(begin: datetime, end: datetime) -> st.SearchStrategy[datetime]:
    """Whole minutes, seconds, and microseconds beside minutes."""
    minutes = st.integers(0, (end - begin) // MINUTE).map(lambda count: begin + count * MINUTE)
    beside = st.sampled_from(
        [timedelta(), timedelta(microseconds=-1), timedelta(microseconds=1), timedelta(seconds=59)]
    )
    return st.builds(lambda minute, more: min(max(minute + more, begin), end), minutes, beside)


@st.composite
def zones_and_changes(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone and a change of its clock, or any hour where there is none."""
    zone = draw(st.sampled_from(ZONES))
    if changes(zone):
        return zone, draw(st.sampled_from(changes(zone)))
    return zone, draw(st.integers(0, (END - BEGIN) // HOUR).map(lambda count: BEGIN + count * HOUR))


def first_ticks(timetable: Timetable, after: datetime, until: datetime) -> Iterator[datetime]:
    tick = timetable.next(after)
    while tick is not None and tick <= until:
        yield tick
        tick = timetable.next(tick)


def agrees(timetable: Timetable, begin: datetime, end: datetime, expected: list[datetime]) -> None:
    """All questions about (begin, end] are answered with these ticks."""
    found = list(first_ticks(timetable, begin, end))
    assert found == expected
    assert all(one < other for one, other in pairwise([begin, *found]))
    for limit in (len(expected) + 1, len(expected) // 2, 1):
        assert timetable.upcoming(begin, end, limit) == expected[:limit]
        assert timetable.last(begin, end, limit) == (expected[-limit:] if limit else [])
        assert timetable.count(begin, end, limit) == min(limit, len(expected))


# The properties.


def check_around_a_change(data: st.DataObject, zone: str, change: datetime) -> None:
    local = change.astimezone(zoneinfo.ZoneInfo(zone)).replace(tzinfo=None)
    cron = data.draw(crons(around=local), label="cron")
    timetable = Timetable(cron.text, zone)
    begin, end = change - 4 * HOUR, change + 4 * HOUR
    expected = Clock(zone, begin + MINUTE, end + MINUTE).ticks(cron.oracle)
    agrees(timetable, begin, end, expected)
    for _ in range(3):
        instant = data.draw(instants(begin, end), label="instant")
        following = timetable.next(instant)
        after = expected[bisect_right(expected, instant) :]
        assert following == after[0] if after else following is None or following > end
        until = data.draw(instants(begin, end), label="until")
        between = expected[bisect_right(expected, instant) : bisect_right(expected, until)]
        limit = data.draw(st.integers(0, 5), label="limit")
        assert timetable.upcoming(instant, until, limit) == between[:limit]
        assert timetable.last(instant, until, limit) == between[max(0, len(between) - limit) :]
        assert timetable.count(instant, until, limit) == min(limit, len(between))


@given(st.data(), zones_and_changes())
@settings(max_examples=60)
def test_around_a_change_of_the_clocks_the_oracle_agrees(data: st.DataObject, drawn: tuple[str, datetime]) -> None:
    check_around_a_change(data, *drawn)


@pytest.mark.full
@given(st.data(), zones_and_changes())
@settings(max_examples=1_500)
def test_around_many_changes_of_the_clocks_the_oracle_agrees(data: st.DataObject, drawn: tuple[str, datetime]) -> None:
    check_around_a_change(data, *drawn)


@given(crons(), instants(BEGIN, END))
@example(Cron("0 0 29 2 *", "0 0 29 2 *"), datetime(2025, 1, 1, tzinfo=UTC))
@example(Cron("0 0 15,L * *", "0 0 15,L * *"), datetime(2025, 3, 1, tzinfo=UTC))
@example(Cron("0 0 31 * *", "0 0 31 * *"), datetime(2025, 3, 1, tzinfo=UTC))
@settings(max_examples=150)
def test_where_no_clock_is_changed_the_oracle_agrees_forwards_and_backwards(cron: Cron, instant: datetime) -> None:
    """Over years, where ticks are far from each other."""
    timetable, wall = Timetable(cron.text, "Etc/UTC"), instant.replace(tzinfo=None)
    coming = [found.replace(tzinfo=UTC) for found in islice(CronSim(cron.oracle, wall), 12)]
    assert coming, "what is accepted fires"
    agrees(timetable, instant, coming[-1], coming)
    gone = [found.replace(tzinfo=UTC) for found in islice(CronSim(cron.oracle, wall + MINUTE, reverse=True), 13)]
    gone = sorted(found for found in gone if found <= instant)
    assert timetable.last(gone[0], instant, 20) == gone[1:]
    assert timetable.last(gone[0] - DAY, instant, len(gone)) == gone


@given(st.sampled_from(ZONES), crons(), st.lists(instants(BEGIN, END), min_size=2, max_size=2))
@settings(max_examples=100)
def test_in_any_zone_at_any_time_the_answers_agree_with_each_other(
    zone: str, cron: Cron, drawn: list[datetime]
) -> None:
    timetable, (begin, end) = Timetable(cron.text, zone), sorted(drawn)
    ticks = timetable.upcoming(begin, end, 20)
    assert ticks == list(islice(first_ticks(timetable, begin, end), 20))
    assert all(tick.tzinfo is UTC and tick.second == tick.microsecond == 0 for tick in ticks)
    assert timetable.count(begin, end, 20) == len(ticks)
    newest = timetable.last(begin, end, 20)
    assert len(newest) == len(ticks)
    if len(ticks) < 20:
        assert newest == ticks
    if newest:
        assert timetable.upcoming(newest[0] - MINUTE, end, 21) == newest
        assert timetable.upcoming(newest[-1], end, 1) == []


EVERYWHERE = ("*/5 * * * *", "30 * * * *", "15,45 0-3 * * *", "0 0 * * *", "30 23 L * *", "30 2 * * 0")


def check_changes(zone: str, found: Sequence[datetime]) -> None:
    info = zoneinfo.ZoneInfo(zone)
    for change in found:
        begin, end = change - 3 * HOUR, change + 3 * HOUR
        clock = Clock(zone, begin + MINUTE, end + MINUTE)
        day = change.astimezone(info)
        for expression in (*EVERYWHERE, f"30 {day.hour} {day.day} {day.month} *"):
            timetable, ticks = Timetable(expression, zone), clock.ticks(expression)
            agrees(timetable, begin, end, ticks)
            # From between ticks, too: within the second pass of an overlap there are none.
            for quarter in range(-3, 6):
                instant = change + quarter * 15 * MINUTE + timedelta(seconds=quarter % 2)
                place = bisect_right(ticks, instant)
                assert timetable.upcoming(instant, end, 2) == ticks[place : place + 2]
                assert timetable.last(begin, instant, 2) == ticks[max(0, place - 2) : place]


SPECIAL = [
    "Africa/Casablanca",  # Ramadan
    "Africa/El_Aaiun",
    "America/Asuncion",  # at midnight, and another offset for good
    "America/Nuuk",
    "Antarctica/Casey",  # three hours
    "Antarctica/Troll",  # two hours
    "Asia/Almaty",  # another offset for good
    "Asia/Beirut",  # at midnight
    "Asia/Gaza",
    "Australia/Lord_Howe",  # half an hour
    "Europe/Dublin",  # negative daylight saving
    "Europe/Volgograd",
]


@pytest.mark.parametrize("zone", SPECIAL)
def test_changes_of_particular_clocks(zone: str) -> None:
    assert changes(zone)
    check_changes(zone, changes(zone)[:6])


@pytest.mark.full
@pytest.mark.parametrize("region", sorted({zone.partition("/")[0] for zone in ZONES}))
def test_each_change_of_each_clock_until_2037(region: str) -> None:
    for zone in ZONES:
        if zone.partition("/")[0] == region:
            check_changes(zone, changes(zone))


def test_there_are_changes_to_test() -> None:
    """The search for changes finds those that are known."""
    assert changes("Europe/Madrid")[12:14] == (
        datetime(2026, 3, 29, 1, tzinfo=UTC),
        datetime(2026, 10, 25, 1, tzinfo=UTC),
    )
    assert len(changes("Europe/Madrid")) == len(changes("America/New_York")) == 36
    assert changes("Asia/Almaty") == (datetime(2024, 2, 29, 18, tzinfo=UTC),)
    assert changes("Etc/UTC") == changes("Asia/Kolkata") == ()


@pytest.mark.parametrize("days_of", ["0 0 */2 * 1", "0 0 1 * */2"])
def test_what_the_two_programs_understand_differently_is_refused(days_of: str) -> None:
    with pytest.raises(ValueError, match="some take both and some take either"):
        check_cron_expression(days_of)
