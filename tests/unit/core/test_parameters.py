"""Parameters become typed values without loss, defaults apply where they should, and the rest is refused by name."""

import math
from typing import Any

import pytest

from pipeline_core.errors import ParametersInvalidError
from pipeline_core.parameters import Parameter, effective_parameters

BUILT_INS = {"yesterday": "2026-03-01", "date": "2026-03-02", "year": "2026", "org_slug": "acme"}

DATES = {
    "date": Parameter(type="string", default="{{yesterday}}"),
    "start_date": Parameter(type="string"),
    "end_date": Parameter(type="string"),
}


def effective(declared: dict[str, Parameter], given: dict[str, Any]) -> dict[str, Any]:
    return effective_parameters(declared, given, BUILT_INS)


CONVERTED = [
    ("string", "text", "text"),
    ("string", "", ""),
    ("string", 10, "10"),
    ("string", "{{org_slug}} {{", "{{org_slug}} {{"),
    ("string", "x" * 1_000, "x" * 1_000),
    ("integer", 10, 10),
    ("integer", "10", 10),
    ("integer", "-7", -7),
    ("integer", 10.0, 10),
    ("integer", 2**63 - 1, 2**63 - 1),
    ("integer", str(-(2**63)), -(2**63)),
    ("number", 10, "10"),
    ("number", 0.1, "0.1"),
    ("number", "0.10", "0.1"),
    ("number", "-0", "0"),
    ("number", 1e-7, "0.0000001"),
    ("number", "1e3", "1000"),
    ("number", "12345678901234567890.123456789", "12345678901234567890.123456789"),
    ("boolean", True, True),
    ("boolean", "false", False),
    ("date", "2024-02-29", "2024-02-29"),
    ("date", "1970-01-01", "1970-01-01"),
    ("date", "9998-12-31", "9998-12-31"),
]


@pytest.mark.parametrize(("kind", "given", "expected"), CONVERTED)
def test_values_are_taken_where_nothing_is_lost(kind, given, expected):
    value = effective({"x": Parameter(type=kind)}, {"x": given})["x"]
    assert value == expected
    assert type(value) is type(expected)


REFUSED = [
    ("string", True, "expected a string, got True"),
    ("string", 1.5, "expected a string, got 1.5"),
    ("string", None, "expected a string, got None"),
    ("string", ["a"], "expected a string, got a list of 1"),
    ("string", 10**5_000, "expected a string, got an integer of 16610 bits"),
    ("string", "x" * 1_001, "1001 characters; at most 1000"),
    ("string", "a\0b", "can't be stored"),
    ("string", "\ud800", "can't be stored"),
    ("integer", "ten", "expected an integer, got 'ten'"),
    ("integer", "1.0", "expected an integer"),
    ("integer", " 1", "expected an integer"),
    ("integer", "1_000", "expected an integer"),
    ("integer", "\u0661", "expected an integer"),
    ("integer", "", "expected an integer"),
    ("integer", 1.5, "expected an integer, got 1.5"),
    ("integer", True, "expected an integer, got True"),
    ("integer", 2**63, "expected an integer of 64 bits"),
    ("integer", "9" * 19, "expected an integer of 64 bits"),
    ("integer", math.inf, "expected an integer, got inf"),
    ("number", math.nan, "expected a number, got nan"),
    ("number", math.inf, "expected a number, got inf"),
    ("number", "NaN", "expected a number, got 'NaN'"),
    ("number", "Infinity", "expected a number"),
    ("number", "0x10", "expected a number"),
    ("number", "1,5", "expected a number"),
    ("number", False, "expected a number, got False"),
    ("number", "1e38", "at most 38 digits before and after the point"),
    ("number", "1e-39", "at most 38 digits before and after the point"),
    ("number", 10**5_000, "at most 38 digits"),
    ("boolean", "yes", "expected true or false, got 'yes'"),
    ("boolean", "True", "expected true or false, got 'True'"),
    ("boolean", 1, "expected true or false, got 1"),
    ("boolean", {}, "expected true or false, got a dict of 0"),
    ("date", "2026-02-29", "expected a day of the calendar as YYYY-MM-DD, got '2026-02-29'"),
    ("date", "2026-2-9", "expected a day of the calendar"),
    ("date", "20260209", "expected a day of the calendar"),
    ("date", "2026-02-09T00:00:00", "expected a day of the calendar"),
    ("date", "2026-W07-1", "expected a day of the calendar"),
    ("date", "", "expected a day of the calendar"),
    ("date", 20260209, "expected a day of the calendar"),
    ("date", "0001-01-01", "expected a day of the years 1970 to 9998, got '0001-01-01'"),
    ("date", "1969-12-31", "expected a day of the years 1970 to 9998, got '1969-12-31'"),
    ("date", "9999-01-01", "expected a day of the years 1970 to 9998, got '9999-01-01'"),
]


@pytest.mark.parametrize(
    ("kind", "given", "message"), REFUSED, ids=lambda value: repr(value)[:40] if value != 10**5_000 else "huge"
)
def test_values_of_another_type_are_refused_and_named(kind, given, message):
    with pytest.raises(ParametersInvalidError) as error:
        effective({"x": Parameter(type=kind)}, {"x": given})
    assert str(error.value).startswith("parameter 'x': ")
    assert message in str(error.value)


def test_a_long_value_is_not_echoed():
    for kind in ("string", "integer", "number", "boolean", "date"):
        with pytest.raises(ParametersInvalidError) as error:
            effective({"x": Parameter(type=kind)}, {"x": "secret" * 2_000})
        assert len(str(error.value)) < 200


def test_every_problem_is_told_and_the_known_names_are_listed():
    declared = {"region": Parameter(type="string", required=True), "limit": Parameter(type="integer")}
    with pytest.raises(ParametersInvalidError) as error:
        effective(declared, {"limit": "many", "regoin": "eu"})
    assert str(error.value) == (
        "parameter 'limit': expected an integer, got 'many'; unknown parameter 'regoin'; known: region, limit; "
        "parameter 'region' is required"
    )
    with pytest.raises(ParametersInvalidError, match=r"unknown parameter 'x'; known: none"):
        effective({}, {"x": 1})


def test_many_unknown_names_give_a_short_error():
    with pytest.raises(ParametersInvalidError) as error:
        effective({}, {f"name_{n}" * 100: n for n in range(100)})
    assert str(error.value).endswith("; and 95 more")
    assert len(str(error.value)) < 1_000


def test_defaults_resolve_templates_and_given_values_never_do():
    declared = {
        "label": Parameter(type="string", default="{{org_slug}}-{{year}}"),
        "year": Parameter(type="integer", default="{{year}}"),
        "none": Parameter(type="string"),
    }
    assert effective(declared, {}) == {"label": "acme-2026", "year": 2026}
    assert effective(declared, {"label": "{{year}}"}) == {"label": "{{year}}", "year": 2026}


def test_values_come_in_the_declared_order():
    declared = {name: Parameter(type="integer", default=0) for name in ("b", "a", "c")}
    assert list(effective(declared, {"c": 1, "a": 2})) == ["b", "a", "c"]


PERIODS = [
    ({}, {"date": "2026-03-01"}),
    ({"date": "2026-02-11"}, {"date": "2026-02-11"}),
    ({"start_date": "2026-02-01", "end_date": "2026-02-03"}, {"start_date": "2026-02-01", "end_date": "2026-02-03"}),
    ({"start_date": "2026-02-01", "end_date": "2026-02-01"}, {"start_date": "2026-02-01", "end_date": "2026-02-01"}),
    ({"start_date": "2026-02-27"}, {"start_date": "2026-02-27", "end_date": "2026-03-01"}),
    ({"start_date": "2026-03-01"}, {"start_date": "2026-03-01", "end_date": "2026-03-01"}),
    ({"start_date": "2025-01-26"}, {"start_date": "2025-01-26", "end_date": "2026-03-01"}),
]


@pytest.mark.parametrize(("given", "expected"), PERIODS)
def test_the_period_of_a_run(given, expected):
    assert effective(DATES, given) == expected


BAD_PERIODS = [
    ({"date": "2026-02-01", "start_date": "2026-02-01"}, "date and start_date exclude each other"),
    ({"date": "2026-02-01", "end_date": "2026-02-01"}, "date and end_date exclude each other"),
    ({"end_date": "2026-02-01"}, "end_date needs start_date beside it"),
    ({"start_date": "2026-02-02", "end_date": "2026-02-01"}, "end_date 2026-02-01 is before start_date 2026-02-02"),
    ({"start_date": "2026-03-02"}, "end_date 2026-03-01 (yesterday, as none is given) is before start_date 2026-03-02"),
    (
        {"start_date": "2025-01-25"},
        "start_date 2025-01-25 to end_date 2026-03-01 are 401 days; one run covers at most 400",
    ),
    ({"start_date": "1970-01-01", "end_date": "9998-12-31"}, "are 2932532 days"),
    ({"start_date": "0001-01-01"}, "parameter 'start_date': expected a day of the years 1970 to 9998"),
    ({"date": "9999-12-31"}, "parameter 'date': expected a day of the years 1970 to 9998"),
    ({"date": "yesterday"}, "parameter 'date': expected a day of the calendar as YYYY-MM-DD, got 'yesterday'"),
    ({"start_date": "2026-02-30", "end_date": "2026-02-01"}, "parameter 'start_date': expected a day"),
]


@pytest.mark.parametrize(("given", "message"), BAD_PERIODS)
def test_periods_that_contradict_themselves(given, message):
    with pytest.raises(ParametersInvalidError) as error:
        effective(DATES, given)
    assert message in str(error.value)


def test_a_range_stands_in_for_a_required_date():
    declared = {**DATES, "date": Parameter(type="date", required=True)}
    assert effective(declared, {"start_date": "2026-02-01"})["end_date"] == "2026-03-01"
    with pytest.raises(ParametersInvalidError, match="parameter 'date' is required"):
        effective(declared, {})


def test_a_date_suppresses_the_ranges_defaults():
    declared = {**DATES, "date": Parameter(type="date"), "start_date": Parameter(type="date", default="2026-01-01")}
    assert effective(declared, {"date": "2026-02-01"}) == {"date": "2026-02-01"}
    assert effective(declared, {}) == {"start_date": "2026-01-01", "end_date": "2026-03-01"}
    assert effective(declared, {"end_date": "2026-01-05"}) == {"start_date": "2026-01-01", "end_date": "2026-01-05"}


def test_a_date_that_is_not_declared_is_just_unknown():
    with pytest.raises(ParametersInvalidError, match=r"^unknown parameter 'date'; known: region$"):
        effective({"region": Parameter(type="string")}, {"date": "2026-02-01"})
