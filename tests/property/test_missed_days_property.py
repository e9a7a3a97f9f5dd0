"""Whatever days are known, a window that reaches back has every one that was missed, and none without a reason."""

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner.bigquery.window import Window

LAST = date(2026, 11, 20)
ages = st.integers(0, 120)


@given(known=st.sets(ages), length=st.integers(1, 20), most_days=st.integers(0, 90), rescan_days=st.integers(1, 10))
def test_a_window_reaches_back_to_what_was_missed(
    known: set[int], length: int, most_days: int, rescan_days: int
) -> None:
    days = {LAST - timedelta(days=age) for age in known}
    window = Window(LAST - timedelta(days=length - 1), LAST)
    wider = window.reaching_back(days, most_days, rescan_days)

    begun, allowed = min(days, default=LAST), LAST - timedelta(days=most_days - 1)
    missed = [
        day
        for day in (LAST - timedelta(days=age) for age in range(120))
        if begun <= day < window.first and day >= allowed and day not in days
    ]
    assert wider.last == LAST
    assert wider == window if not missed else wider.first <= min(missed)
    if missed:
        assert wider.first >= max(begun, allowed, min(missed) - timedelta(days=rescan_days - 1))
    # The run that comes next, all of these published, misses none of them.
    after = Window(window.first, LAST).reaching_back(days | set(wider.days()), most_days, rescan_days)
    assert after == window
