"""The generated billing export has the columns of the real one, what makes it hard, and is the same every time."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from google.cloud.bigquery import SchemaField

from pipeline_local.quickstart import price_list, source
from pipeline_local.quickstart.export import billing_export

LAST_DAY = date(2026, 11, 21)


@pytest.fixture(scope="module")
def export() -> pa.Table:
    return billing_export(LAST_DAY)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """A smaller one, as Python's objects."""
    return list(billing_export(LAST_DAY, rows_per_day=1_000).to_pylist())


def _arrow_type(field: SchemaField) -> pa.DataType:
    scalars = {
        "STRING": pa.string(),
        "BOOLEAN": pa.bool_(),
        "FLOAT": pa.float64(),
        "NUMERIC": pa.decimal128(38, 9),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    }
    kind = pa.struct([(child.name, _arrow_type(child)) for child in field.fields]) if field.fields else None
    kind = kind or scalars[field.field_type]
    return pa.list_(kind) if field.mode == "REPEATED" else kind


def test_columns_are_those_of_the_schema_nested_ones_included(export: pa.Table) -> None:
    assert {column.name: column.type for column in export.schema} == {
        field.name: _arrow_type(field) for field in source.schema()
    }


def test_at_least_50000_rows_cover_each_of_the_ten_days(export: pa.Table) -> None:
    assert export.num_rows >= 50_000
    days = Counter(time.date() for time in export["usage_start_time"].to_pylist())
    assert sorted(days) == [LAST_DAY - timedelta(days=back) for back in reversed(range(10))]
    assert min(days.values()) > 4_000


def test_the_same_last_day_gives_the_same_export() -> None:
    assert billing_export(LAST_DAY, rows_per_day=100).equals(billing_export(LAST_DAY, rows_per_day=100))


def test_tomorrows_export_holds_todays_rows_of_each_day_and_late_ones_beside_them() -> None:
    def of_the_15th(last_day: date) -> Counter[str]:
        table = billing_export(last_day, days=3, rows_per_day=3_000)
        day = pc.equal(
            pc.floor_temporal(table["usage_start_time"], unit="day"), pa.scalar(datetime(2026, 11, 15, tzinfo=UTC))
        )
        return Counter(map(repr, table.filter(day).to_pylist()))

    today, tomorrow = of_the_15th(date(2026, 11, 16)), of_the_15th(date(2026, 11, 17))
    assert today < tomorrow


def test_nothing_is_exported_after_the_midnight_that_ends_the_last_day_nor_before_it_was_used(
    rows: list[dict[str, Any]],
) -> None:
    assert max(row["export_time"] for row in rows) < datetime(2026, 11, 22, tzinfo=UTC)
    assert all(row["usage_start_time"] < row["export_time"] for row in rows)


def test_some_rows_come_days_late(rows: list[dict[str, Any]]) -> None:
    late = [row for row in rows if row["export_time"] - row["usage_start_time"] > timedelta(days=1)]
    assert 0.005 < len(late) / len(rows) < 0.05
    assert max(row["export_time"] - row["usage_start_time"] for row in late) > timedelta(days=7)


def test_all_kinds_of_rows_are_there(rows: list[dict[str, Any]]) -> None:
    assert set(Counter(row["cost_type"] for row in rows)) == {"regular", "tax", "adjustment", "rounding_error"}
    for row in rows:
        assert (row["adjustment_info"] is not None) == (row["cost_type"] == "adjustment")


def test_credits_are_negative_of_every_type_and_never_more_than_the_cost(rows: list[dict[str, Any]]) -> None:
    given = [credit for row in rows for credit in row["credits"]]
    assert {credit["type"] for credit in given} == {credit[3] for credit in price_list.CREDITS}
    assert all(credit["amount"] < 0 for credit in given)
    assert all(-credit["amount"] <= row["cost"] for row in rows for credit in row["credits"])


def test_equal_rows_occur(rows: list[dict[str, Any]]) -> None:
    repeats = [count for count in Counter(repr(row) for row in rows).values() if count > 1]
    assert len(repeats) > 20


def test_costs_need_their_shortest_decimal(rows: list[dict[str, Any]]) -> None:
    texts = [repr(row["cost"]) for row in rows]
    assert any("e-" in text for text in texts)  # 1e-07: a decimal in scientific notation
    assert sum(len(text.partition(".")[2]) > 9 for text in texts) > 500  # more places than a NUMERIC has
    assert any(row["cost"] == 0 for row in rows)
    assert any(row["cost"] < 0 for row in rows)


def test_nulls_and_empty_lists_occur(rows: list[dict[str, Any]]) -> None:
    for path in ("project.id", "location.zone", "usage.amount", "cost_at_list", "service.id", "price.unit"):
        first, _, second = path.partition(".")
        assert any((row[first][second] if second else row[first]) is None for row in rows), path
    for name in ("labels", "system_labels", "tags", "credits"):
        assert {len(row[name]) for row in rows} >= {0, 1, 2}, name


def test_no_list_of_labels_names_a_key_twice(rows: list[dict[str, Any]]) -> None:
    for name in ("labels", "system_labels", "tags"):
        for row in rows:
            keys = [label["key"] for label in row[name]]
            assert len(keys) == len(set(keys))


def test_prices_times_amounts_make_the_costs(rows: list[dict[str, Any]]) -> None:
    checked = 0
    for row in rows:
        if row["cost"] == 0 or row["cost_type"] != "regular":
            continue
        quantity, price = float(row["price"]["pricing_unit_quantity"]), float(row["price"]["effective_price"])
        assert row["cost"] == pytest.approx(row["usage"]["amount_in_pricing_units"] / quantity * price, abs=1e-6)
        checked += 1
    assert checked > 1_000
