"""A result becomes a row with every digit it came with, or is refused with field, value and what is expected."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner.processors.api_results import (
    Field,
    ResultReader,
    UnfitError,
    boolean,
    currency,
    decimal,
    hundredths,
    paths,
    text,
    whole,
)

READER = ResultReader(
    (
        Field("project", ("project_id",), text),
        Field("amount", ("amount", "value"), decimal, required=True),
        Field("currency", ("amount", "currency"), currency, required=True),
        Field("hour", ("cache", "hour"), whole),
        Field("minutes", ("cache", "minutes"), whole),
    ),
    constants={"endpoint": "costs"},
    ignored=("object",),
)
AMOUNT = {"value": "1.5", "currency": "usd"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Decimal("0.06"), "0.06"),
        ("0.06", "0.06"),
        (7, "7"),
        ("-3.10", "-3.10"),
        (Decimal("1.2E-7"), "0.00000012"),
        ("1.2e-7", "0.00000012"),
        ("1E+3", "1000"),
        (0.1, "0.1"),
        ("12345678901234567890.123456789", "12345678901234567890.123456789"),
    ],
)
def test_a_number_keeps_the_digits_it_was_written_with(given: object, expected: str) -> None:
    assert decimal(given) == Decimal(expected)


@pytest.mark.parametrize(
    "value",
    ["", "abc", "1,5", "1_000", " 1", "1 ", "NaN", "Infinity", "٣", "1e99999", True, [], {}, float("inf"),
     Decimal("NaN"), Decimal("1e99999"), Decimal("1e-10000"), Decimal("0e10000")],
)  # fmt: skip
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a number"):
        decimal(value)


@pytest.mark.parametrize(
    ("cents", "expected"),
    [
        ("123.45", "1.2345"),
        ("100", "1"),
        ("0.000001", "0.00000001"),
        ("-50", "-0.5"),
        (250, "2.5"),
        (Decimal("1E+2"), "1"),
        ("1234567890123456789012345678901.123456789", "12345678901234567890123456789.01123456789"),
    ],
)
def test_cents_become_units_exactly(cents: object, expected: str) -> None:
    assert hundredths(cents) == Decimal(expected)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_cents_lose_no_digit(amount: Decimal) -> None:
    if -9999 <= amount.as_tuple().exponent <= 9999:  # type: ignore[operator]
        sign, digits, exponent = hundredths(str(amount)).as_tuple()
        assert Decimal((sign, digits, int(exponent) + 2)).compare_total(amount) == 0


@pytest.mark.parametrize(
    ("value", "expected"), [(12, 12), ("12", 12), (Decimal("12.0"), 12), (Decimal("1.2E+1"), 12), (-3, -3), (0, 0)]
)
def test_a_count_is_a_whole_number_in_any_notation(value: object, expected: int) -> None:
    found = whole(value)
    assert (found, type(found)) == (expected, int)


@pytest.mark.parametrize("value", ["1.5", Decimal("0.1"), True, "many", "1e9999", [1], None])
def test_what_is_no_count_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="a whole number"):
        whole(value)


def test_currencies_are_in_capitals() -> None:
    assert currency("usd") == "USD"
    for wrong in ("", "dollars", "$", 1, None):
        with pytest.raises(ValueError, match="a currency's code"):
            currency(wrong)


def test_texts_and_booleans_are_taken_in_no_other_type() -> None:
    assert (text("a"), boolean(False)) == ("a", False)
    for wrong in (1, True, ["a"]):
        with pytest.raises(ValueError, match="a string"):
            text(wrong)
    for wrong in (0, 1, "true"):
        with pytest.raises(ValueError, match="true or false"):
            boolean(wrong)


def test_a_result_fills_its_columns() -> None:
    result = {"object": "result", "project_id": "p1", "amount": AMOUNT, "cache": {"hour": 3, "minutes": 4}}
    assert READER.read(result) == {
        "endpoint": "costs",
        "project": "p1",
        "amount": Decimal("1.5"),
        "currency": "USD",
        "hour": 3,
        "minutes": 4,
        "further": None,
    }


@pytest.mark.parametrize("result", [{"amount": AMOUNT}, {"amount": AMOUNT, "project_id": None, "cache": None}])
def test_what_is_missing_or_null_is_null(result: dict[str, Any]) -> None:
    row = READER.read(result)
    assert (row["project"], row["hour"], row["minutes"], row["further"]) == (None, None, None, None)


def test_fields_that_no_column_is_for_are_kept_wherever_they_stand() -> None:
    further = {
        "tier": "gold",
        "amount": {"discount": Decimal("0.10")},
        "cache": {"half_hour": 9, "deep": {"a": 1, "b": {}}},
        "list": [1, {"x": 2}],
    }
    result = {
        "object": "result",
        "amount": AMOUNT | further["amount"],  # type: ignore[operator]
        "cache": {"hour": 1} | further["cache"],  # type: ignore[operator]
        "tier": "gold",
        "list": further["list"],
        "nothing": None,
    }
    assert READER.read(result)["further"] == further
    assert sorted(paths(further)) == [
        "amount.discount",
        "cache.deep.a",
        "cache.deep.b",
        "cache.half_hour",
        "list",
        "tier",
    ]


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ([], r"result: expected an object, got \[\]"),
        ({}, "amount.value: required, but missing"),
        ({"amount": None}, "amount.value: required, but missing"),
        ({"amount": {"value": "1"}}, "amount.currency: required, but missing"),
        ({"amount": "1.50"}, "amount: expected an object, got '1.50'"),
        ({"amount": {"value": "1.50 USD", "currency": "usd"}}, "amount.value: expected a number, .* got '1.50 USD'"),
        ({"amount": AMOUNT, "project_id": 7}, "project_id: expected a string, got 7"),
        ({"amount": AMOUNT, "cache": 5}, "cache: expected an object, got 5"),
        ({"amount": AMOUNT, "cache": {"hour": "x" * 500}}, f"cache.hour: expected a whole number, got '{'x' * 99}…"),
    ],
)
def test_a_result_that_does_not_fit_says_why(result: object, reason: str) -> None:
    with pytest.raises(UnfitError, match=reason):
        READER.read(result)
