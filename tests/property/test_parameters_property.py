"""Whatever a caller gives: typed values or the domain's error, exact numbers, and periods that hold together."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_core import dates
from pipeline_core.errors import ParametersInvalidError
from pipeline_core.parameter_types import MAX_TEXT, ParameterType, convert_value
from pipeline_core.parameters import Parameter, effective_parameters
from pipeline_core.run_document import RunDocument

days = st.dates(min_value=date(1971, 1, 1), max_value=date(2100, 12, 31))
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda children: st.lists(children, max_size=2) | st.dictionaries(st.text(), children, max_size=2),
)
PERIOD = {
    "date": Parameter(type=ParameterType.STRING, default="{{yesterday}}"),
    "start_date": Parameter(type=ParameterType.DATE),
    "end_date": Parameter(type=ParameterType.DATE),
}


def built_ins(today: date) -> dict[str, str]:
    return {"yesterday": (today - timedelta(days=1)).isoformat()}


@given(st.sampled_from(ParameterType), anything)
def test_any_value_is_converted_to_its_type_or_refused_shortly(kind: ParameterType, value: object) -> None:
    python_types = {"string": str, "integer": int, "number": str, "boolean": bool, "date": str}
    try:
        converted = convert_value(kind, value)
    except ValueError as error:
        assert len(str(error)) < 300  # noqa: PT017
        return
    assert type(converted) is python_types[kind]
    assert convert_value(kind, converted) == converted
    str(converted).encode()
    assert len(str(converted)) <= MAX_TEXT


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28))
def test_numbers_written_as_text_are_exact(number: Decimal) -> None:
    converted = convert_value(ParameterType.NUMBER, str(number))
    assert Decimal(str(converted)) == number
    assert "e" not in str(converted).lower()


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15))
def test_numbers_sent_as_json_mean_the_same_float(number: float) -> None:
    try:
        converted = convert_value(ParameterType.NUMBER, number)
    except ValueError:
        assert 0 < abs(number) < 1e-20
        return
    assert float(str(converted)) == number


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_integers_pass_as_numbers_as_text_and_through_the_document(number: int) -> None:
    assert convert_value(ParameterType.INTEGER, number) == convert_value(ParameterType.INTEGER, str(number)) == number
    document = RunDocument(
        run_id="run_1", org_slug="acme", env="dev", provider="p", domain="d", pipeline="p",
        logical_time="2026-01-01T00:00:00Z", parameters={"n": number, "t": str(number), "b": True}, config={},
        timeout_seconds=1, max_retries=0,
    )  # fmt: skip
    parameters = RunDocument.model_validate_json(document.model_dump_json()).parameters
    assert parameters == {"n": number, "t": str(number), "b": True}
    assert [type(value) for value in parameters.values()] == [int, str, bool]


@given(today=days, start=days, length=st.integers(0, 2 * dates.MAX_RANGE_DAYS))
def test_a_range_covers_each_of_its_days_or_is_too_long(today: date, start: date, length: int) -> None:
    end = start + timedelta(days=length)
    given_dates = {"start_date": start.isoformat(), "end_date": end.isoformat()}
    if length + 1 > dates.MAX_RANGE_DAYS:
        with pytest.raises(ParametersInvalidError, match=f"are {length + 1} days"):
            effective_parameters(PERIOD, given_dates, built_ins(today))
    else:
        assert effective_parameters(PERIOD, given_dates, built_ins(today)) == given_dates


@given(today=days, before=st.integers(-5, dates.MAX_RANGE_DAYS + 5))
def test_a_start_alone_runs_through_yesterday(today: date, before: int) -> None:
    start = today - timedelta(days=before)
    if 1 <= before <= dates.MAX_RANGE_DAYS:
        effective = effective_parameters(PERIOD, {"start_date": start.isoformat()}, built_ins(today))
        assert effective == {"start_date": start.isoformat(), "end_date": built_ins(today)["yesterday"]}
    else:
        with pytest.raises(ParametersInvalidError):
            effective_parameters(PERIOD, {"start_date": start.isoformat()}, built_ins(today))


@given(today=days, subset=st.fixed_dictionaries({}, optional=dict.fromkeys(dates.DATE_PARAMETERS, days.map(str))))
def test_a_run_covers_one_day_or_a_whole_range_and_never_both(today: date, subset: dict[str, Any]) -> None:
    try:
        effective = effective_parameters(PERIOD, subset, built_ins(today))
    except ParametersInvalidError:
        assert subset
        return
    assert set(effective) in ({"date"}, {"start_date", "end_date"})
    assert subset.items() <= effective.items()


@given(st.text(max_size=12) | days.map(str))
def test_only_days_of_the_calendar_are_dates(text: str) -> None:
    try:
        day = dates.parse_date(text)
    except ValueError:
        return
    assert day.isoformat() == text
    assert dates.FIRST_YEAR <= day.year <= dates.LAST_YEAR
    assert len(text) == 10
