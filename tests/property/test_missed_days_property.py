"""However a schedule is interrupted, every day is read in the end, and as late as corrections of it come."""

from datetime import UTC, date, datetime, time, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner.bigquery.due_days import MOST_AT_ONCE, due_days, is_settled
from pipeline_runner.bigquery.window import Window

FIRST = date(2026, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def morning(number: int) -> datetime:
    return datetime.combine(day(number), time(6), UTC)


@given(
    runs=st.sets(st.integers(0, 60), min_size=1),
    by_hand=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 90), st.integers(0, 40)), max_size=4),
    own_offset=st.integers(0, 1),
    rescan_days=st.integers(1, 12),
    at_once=st.integers(3, MOST_AT_ONCE),
)
def test_every_day_is_read_as_late_as_its_corrections_come(
    runs: set[int], by_hand: list[tuple[int, int, int]], own_offset: int, rescan_days: int, at_once: int
) -> None:
    """Runs of yesterday or of today on some mornings; some of days that somebody has named; then one each morning."""
    resumed = max(61, *runs) + 1
    last = resumed + 2 * 60 // at_once + rescan_days + 3
    read: dict[date, datetime] = {}
    for number in range(last + 1):
        if number in runs or number >= resumed:
            own = Window(day(number - own_offset - rescan_days + 1), day(number - own_offset))
            due = due_days(own, read, catch_up_days=365, rescan_days=rescan_days, at_once=at_once)
            days = [each for window in due.windows for each in window.days()]
            assert len(due.missed) + len(due.again) <= max(at_once, rescan_days)
            assert days == sorted({*due.missed, *due.again, *own.days()})
            assert set(due.left).isdisjoint(days)
            read |= dict.fromkeys(days, morning(number))
        for when, first, length in by_hand:
            if when == number:
                read |= dict.fromkeys((day(first + each) for each in range(length)), morning(number))
    begun = min(read)
    for number in range((day(last) - begun).days - own_offset):
        each = begun + timedelta(days=number)
        assert each in read, f"{each} was never read"
        was_time = is_settled(each, morning(last), rescan_days)
        assert not was_time or is_settled(each, read[each], rescan_days), f"{each} was read too early only"


@given(
    known=st.dictionaries(st.integers(0, 125), st.integers(0, 130)),
    rescan_days=st.integers(1, 12),
    catch_up_days=st.integers(0, 90),
)
def test_no_day_is_read_without_a_reason(known: dict[int, int], rescan_days: int, catch_up_days: int) -> None:
    today = day(120)
    own = Window(today - timedelta(days=rescan_days - 1), today)
    read = {day(number): morning(when) for number, when in known.items()}
    due = due_days(own, read, catch_up_days=catch_up_days, rescan_days=rescan_days)
    begun, allowed = min(read, default=today), today - timedelta(days=catch_up_days - 1)
    for each in (*due.missed, *due.again):
        assert max(begun, allowed) <= each < own.first
    for each in due.missed:
        assert each not in read
    for each in due.again:
        assert not is_settled(each, read[each], rescan_days)
    # all that is needed once these are published: nothing but what was left
    now = dict.fromkeys((*due.missed, *due.again, *own.days()), morning(121))
    after = due_days(own, read | now, catch_up_days=catch_up_days, rescan_days=rescan_days)
    assert sorted((*after.missed, *after.again)) == list(due.left[-MOST_AT_ONCE:])
