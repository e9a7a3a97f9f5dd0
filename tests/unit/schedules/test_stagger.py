"""A schedule's runs are due the same time after each of its ticks, and those of many schedules at many times."""

from collections import Counter
from datetime import timedelta

from pipeline_core.schedules.stagger import offset


def test_an_offset_hangs_on_the_schedule_alone() -> None:
    # Another function would move the due time of every schedule's runs.
    assert offset("acme", "pipelines", "nightly", 3_600) == timedelta(seconds=377)
    assert offset("acme", "pipelines", "nightly", 60) == timedelta(seconds=23)
    others = [("globex", "pipelines", "nightly"), ("acme", "acme", "nightly"), ("acme", "pipelines", "hourly")]
    assert [offset(*names, 3_600).total_seconds() for names in others] == [3_007, 3_594, 2_992]


def test_an_offset_is_whole_seconds_up_to_the_limit() -> None:
    assert offset("acme", "pipelines", "nightly", 0) == timedelta()
    for limit in (1, 7, 3_600):
        found = Counter(offset("acme", "pipelines", f"schedule-{number}", limit) for number in range(40 * (limit + 1)))
        assert min(found) == timedelta()
        assert max(found) == timedelta(seconds=limit)
        assert all(each == timedelta(seconds=each // timedelta(seconds=1)) for each in found)


def test_a_crowd_is_spread_over_all_of_the_time() -> None:
    found = Counter(
        offset(f"org_{number % 50}", "pipelines", f"nightly-{number}", 599) // timedelta(seconds=60)
        for number in range(5_000)
    )
    # Ten minutes, 500 schedules in each: 21 is their deviation.
    assert len(found) == 10
    assert max(abs(count - 500) for count in found.values()) < 100
