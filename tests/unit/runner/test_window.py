"""The days of a run: from its parameters, and as constants in SQL."""

from datetime import date

import pytest

from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError


@pytest.mark.parametrize(
    ("parameters", "first", "last"),
    [
        ({"date": "2026-11-01"}, date(2026, 11, 1), date(2026, 11, 1)),
        ({"start_date": "2026-10-31", "end_date": "2026-11-01"}, date(2026, 10, 31), date(2026, 11, 1)),
        ({"date": "2026-11-01", "other": "x"}, date(2026, 11, 1), date(2026, 11, 1)),
    ],
)
def test_parameters_give_days(parameters: dict[str, object], first: date, last: date) -> None:
    assert Window.from_parameters(parameters) == Window(first, last)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "expected date, or start_date and end_date"),
        ({"start_date": "2026-11-01"}, "parameters.end_date: expected a date"),
        ({"end_date": "2026-11-01"}, "parameters.start_date: expected a date"),
        ({"date": "2026-02-30"}, "got '2026-02-30'"),
        ({"date": "20261101"}, "got '20261101'"),
        ({"date": 20261101}, "got 20261101"),
        ({"date": "2026-11-01'; DROP TABLE x; --"}, "expected a date as YYYY-MM-DD"),
        ({"start_date": "2026-11-02", "end_date": "2026-11-01"}, "end_date 2026-11-01 is before start_date 2026-11-02"),
    ],
)
def test_other_parameters_are_refused_by_name(parameters: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        Window.from_parameters(parameters)


@pytest.mark.parametrize(
    ("type_", "condition"),
    [
        ("TIMESTAMP", "t >= TIMESTAMP '2026-12-31 00:00:00+00' AND t < TIMESTAMP '2027-01-01 00:00:00+00'"),
        ("DATETIME", "t >= DATETIME '2026-12-31 00:00:00' AND t < DATETIME '2027-01-01 00:00:00'"),
        ("DATE", "t >= DATE '2026-12-31' AND t < DATE '2027-01-01'"),
    ],
)
def test_the_last_day_is_whole_and_the_next_is_out(type_: str, condition: str) -> None:
    assert Window(date(2026, 12, 31), date(2026, 12, 31)).contains("t", type_) == condition


@pytest.mark.parametrize(
    ("parameters", "days", "first", "last"),
    [
        ({"date": "2026-11-10"}, 10, date(2026, 11, 1), date(2026, 11, 10)),
        ({"date": "2026-11-10"}, 1, date(2026, 11, 10), date(2026, 11, 10)),
        ({"date": "1970-01-02"}, 90, date(1970, 1, 1), date(1970, 1, 2)),
        ({"start_date": "2026-11-09", "end_date": "2026-11-10"}, 10, date(2026, 11, 9), date(2026, 11, 10)),
    ],
)
def test_a_rescan_goes_back_from_a_day_and_leaves_a_range_as_it_is(
    parameters: dict[str, object], days: int, first: date, last: date
) -> None:
    assert Window.from_parameters(parameters, days) == Window(first, last)


def test_days_become_the_fewest_windows() -> None:
    days = [date(2026, 11, number) for number in (3, 1, 2, 5, 9, 8, 5)]
    windows = Window.ranges(days)
    assert list(map(str, windows)) == ["2026-11-01..2026-11-03", "2026-11-05", "2026-11-08..2026-11-09"]
    assert [day for window in windows for day in window.days()] == sorted(set(days))
    assert Window.ranges([]) == ()


def test_nothing_is_looked_for_before_the_first_day_of_all() -> None:
    window = Window(date(1970, 1, 5), date(1970, 1, 5))
    assert window.back_to(90) == Window(date(1970, 1, 1), window.last)
