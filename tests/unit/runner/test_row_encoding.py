"""What a row's values become on their way into BigQuery, and what is refused, by column and value."""

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.encoding import RowEncoder, UnfitRowError, json_value


def encoder(type_: str, *, repeated: bool = False, required: bool = False) -> RowEncoder:
    return RowEncoder((Column("v", type_, repeated),), frozenset({"v"} if required else ()))


@pytest.mark.parametrize(
    ("type_", "value", "written"),
    [
        ("STRING", "0012", "0012"),
        ("INTEGER", -(2**63), "-9223372036854775808"),
        ("BOOLEAN", False, False),
        ("NUMERIC", Decimal("1E+20"), "100000000000000000000.000000000"),
        ("NUMERIC", Decimal("1E-9"), "0.000000001"),
        ("NUMERIC", Decimal("5E-10"), "0.000000001"),
        ("NUMERIC", Decimal("-5E-10"), "-0.000000001"),
        ("NUMERIC", Decimal("4.999999E-10"), "0.000000000"),
        ("NUMERIC", Decimal("-4E-10"), "0.000000000"),
        ("NUMERIC", Decimal("-0"), "0.000000000"),
        ("NUMERIC", Decimal("1E-1000000"), "0.000000000"),
        ("NUMERIC", 7, "7.000000000"),
        ("NUMERIC", Decimal("99999999999999999999999999999.999999999"), "99999999999999999999999999999.999999999"),
        ("DATE", date(1, 2, 3), "0001-02-03"),
        ("TIMESTAMP", datetime(2026, 11, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2026-10-31T23:00:00+00:00"),
        ("JSON", {"a": [Decimal("0.10"), 2**64 - 1, None]}, {"a": [0.1, 2**64 - 1, None]}),
        ("JSON", Decimal("0.12345678901234567890"), "0.12345678901234567890"),
        ("JSON", 2**64, "18446744073709551616"),
        ("JSON", Decimal("1e400"), "1E+400"),
    ],
)
def test_a_value_is_written_exactly(type_: str, value: object, written: object) -> None:
    assert json.loads(encoder(type_).encode({"v": value})) == {"v": written}


@pytest.mark.parametrize(
    ("type_", "value", "reason"),
    [
        ("STRING", 5, "v: expected a text, got 5"),
        ("STRING", "a\udc00", r"v: '\\udc00' is no character"),
        ("INTEGER", True, "v: expected an integer of 64 bits, got True"),
        ("INTEGER", 2**63, "v: expected an integer of 64 bits, got 9223372036854775808"),
        ("BOOLEAN", 1, "v: expected true or false, got 1"),
        ("NUMERIC", 0.1, "v: expected a Decimal, got 0.1"),
        ("NUMERIC", Decimal("1e29"), r"v: expected an amount of less than 1e29, got 1E\+29"),
        ("NUMERIC", Decimal("99999999999999999999999999999.9999999995"), "v: expected an amount of less than 1e29"),
        ("NUMERIC", Decimal("sNaN"), "v: expected an amount of less than 1e29, got sNaN"),
        ("DATE", datetime(2026, 11, 1, tzinfo=UTC), "v: expected a date"),
        ("DATE", "2026-11-01", "v: expected a date, got '2026-11-01'"),
        ("TIMESTAMP", datetime(2026, 11, 1), "v: expected a time with its zone"),
        ("TIMESTAMP", datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "v: expected a time of the years 1 to"),
        ("JSON", {"a": 0.5}, "v: expected JSON, got 0.5"),
        ("JSON", {1: "a"}, "v: expected JSON, got the key 1"),
        ("STRING", "x" * 9_000_000, "the row takes 9000008 bytes"),
    ],
)
def test_what_does_not_fit_is_named(type_: str, value: object, reason: str) -> None:
    made = encoder(type_)
    with pytest.raises(UnfitRowError, match=reason):
        made.encode({"v": value})
    assert made.rows == 0


def test_null_is_left_out_unless_a_value_is_required() -> None:
    assert encoder("STRING").encode({"v": None}) == encoder("STRING").encode({}) == b"{}\n"
    with pytest.raises(UnfitRowError, match="v: expected a value, got NULL"):
        encoder("STRING", required=True).encode({})


def test_lists_are_of_values_alone() -> None:
    lists = encoder("INTEGER", repeated=True)
    assert json.loads(lists.encode({"v": [2, 1]})) == {"v": ["2", "1"]}
    for bad in ([None], "12", {1}):
        with pytest.raises(UnfitRowError, match="v: expected"):
            lists.encode({"v": bad})


def test_a_value_without_a_column_is_named() -> None:
    with pytest.raises(UnfitRowError, match="w: there is no such column"):
        encoder("STRING").encode({"v": "a", "w": None})


def test_sums_are_of_what_is_written_and_tell_what_rounding_took() -> None:
    made = encoder("NUMERIC")
    for value in ("0.0000000005", "99999999999999999999999999999", "-0.0000000004"):
        made.encode({"v": Decimal(value)})
    with pytest.raises(UnfitRowError):
        made.encode({"v": Decimal("1e29")})
    assert made.statistics() == {
        "row_count": 3,
        "sum_0": Decimal("99999999999999999999999999999.000000001"),
        "lost_0": Decimal("-0.0000000009"),
    }


def test_nesting_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UnfitRowError, match="nested too deeply"):
        encoder("JSON").encode({"v": deep})


@pytest.mark.parametrize("type_", ["FLOAT", "RECORD", "BYTES"])
def test_columns_that_rows_cannot_fill_exactly_are_refused(type_: str) -> None:
    with pytest.raises(ValueError, match=f"column v is {type_}"):
        encoder(type_)


def test_the_quarantine_takes_what_json_does_not_have() -> None:
    assert json_value({1: [0.5, {2}, b"x", Decimal("NaN")]}, lenient=True) == {"1": ["0.5", "{2}", "b'x'", "NaN"]}
