"""However a schedule is interrupted, every day is read in the end, and as late as corrections of it come."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner.bigquery.due_days import MOST_AT_ONCE, due_days
from pipeline_runner.bigquery.window import Window

FIRST = date(2026, 1, 1)


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


@given(
    runs=st.sets(st.integers(0, 60), min_size=1),
    rescan_days=st.integers(1, 12),
    at_once=st.integers(1, MOST_AT_ONCE),
)
def test_every_day_is_read_as_late_as_without_a_pause(runs: set[int], rescan_days: int, at_once: int) -> None:
    resumed = max(runs) + 1
    last = resumed + 60 // at_once + rescan_days
    read: dict[date, date] = {}  # when each day was read last, by the date of the run
    for today in map(day, [*sorted(runs), *range(resumed, last + 1)]):
        own = Window(today - timedelta(days=rescan_days - 1), today)
        due = due_days(own, set(read), catch_up_days=365, rescan_days=rescan_days, at_once=at_once)
        days = [each for window in due.windows for each in window.days()]
        assert len(due.missed) <= at_once
        assert days == sorted({*due.missed, *due.again, *own.days()})
        assert set(due.left).isdisjoint(days)
        read |= dict.fromkeys(days, today)
    begun = min(read)
    for number in range((day(last) - begun).days + 1):
        each = begun + timedelta(days=number)
        assert each in read, f"{each} was never read"
        # Without pauses its last reading is by the run that comes rescan_days - 1 days after it.
        assert read[each] >= min(each + timedelta(days=rescan_days - 1), day(last)), f"{each} was read too early only"


@given(
    known=st.sets(st.integers(0, 120)),
    rescan_days=st.integers(1, 12),
    catch_up_days=st.integers(0, 90),
)
def test_no_day_is_read_without_a_reason(known: set[int], rescan_days: int, catch_up_days: int) -> None:
    today = day(120)
    own = Window(today - timedelta(days=rescan_days - 1), today)
    published = set(map(day, known))
    due = due_days(own, published, catch_up_days=catch_up_days, rescan_days=rescan_days)
    begun, allowed = min(published, default=today), today - timedelta(days=catch_up_days - 1)
    for each in (*due.missed, *due.again):
        assert max(begun, allowed) <= each < own.first
    for each in due.missed:
        assert each not in published
    for each in due.again:
        assert each in published
        assert any(each + timedelta(days=number) not in published for number in range(1, rescan_days))
    # all that is needed once these are published: nothing but what was left
    after = due_days(
        own, published | set(due.missed) | set(own.days()), catch_up_days=catch_up_days, rescan_days=rescan_days
    )
    assert bool(after.missed) == bool(due.left)
