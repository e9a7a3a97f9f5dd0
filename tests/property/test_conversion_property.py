"""Amounts that are made exact in memory: every float becomes the NUMERIC of its shortest text, wherever it stands."""

from decimal import ROUND_HALF_UP, Context, Decimal

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.conversion import Conversion
from pipeline_runner.bigquery.money import exact

_WIDE = Context(prec=80, rounding=ROUND_HALF_UP)
COST = Column("cost", "FLOAT")
CREDITS = Column("credits", "RECORD", True, (Column("name", "STRING"), Column("amount", "FLOAT")))
NESTED = Column("r", "RECORD", fields=(Column("id", "STRING"), Column("lines", "RECORD", True, (COST, CREDITS))))

# Beside any float: what people are billed, and what lies on or next to the edge between two billionths.
billed = st.decimals(-(10**7), 10**7, places=6).map(float)
edges = st.tuples(st.integers(-(10**13), 10**13), st.sampled_from(["0.5", "0.4999999", "0.5000001", "0"])).map(
    lambda parts: float((Decimal(parts[0]) + Decimal(parts[1])) / 10**9)
)
amounts = st.none() | st.floats(-1e28, 1e28) | billed | edges


def expected(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(repr(value)).quantize(Decimal("1e-9"), context=_WIDE)


def total(values: list[float | None]) -> Decimal:
    result = Decimal(0)
    for value in values:
        result = _WIDE.add(result, expected(value) or Decimal(0))
    return result


def batch(column: Column, kind: pyarrow.DataType, values: list[object]) -> pyarrow.RecordBatch:
    return pyarrow.RecordBatch.from_arrays([pyarrow.array(values, kind)], names=[column.name])


def converter(column: Column, *money: str) -> Conversion:
    return Conversion((column,), exact((column,)), money)


@given(st.lists(amounts, max_size=30))
def test_a_float_becomes_its_shortest_decimal_and_is_summed_exactly(values: list[float | None]) -> None:
    conversion = converter(COST, "cost")
    made = conversion.convert(batch(COST, pyarrow.float64(), list(values)))
    assert made.column("cost").to_pylist() == [expected(value) for value in values]
    found = conversion.statistics()
    assert (found["row_count"], found["sum_0"], found["bad_0"]) == (len(values), total(values), 0)
    small = [value for value in values if value is not None and abs(value) < 1e7]
    lost = sum(value - float(expected(value) or 0) for value in small)
    assert found["lost_0"] == pytest.approx(lost, abs=1e-12)


records = st.none() | st.fixed_dictionaries({"name": st.just("c"), "amount": amounts})
lines = st.none() | st.fixed_dictionaries({"cost": amounts, "credits": st.none() | st.lists(records, max_size=3)})
_CREDITS_TYPE = pyarrow.list_(pyarrow.struct([("name", pyarrow.string()), ("amount", pyarrow.float64())]))
_NESTED_TYPE = pyarrow.struct(
    [
        ("id", pyarrow.string()),
        ("lines", pyarrow.list_(pyarrow.struct([("cost", pyarrow.float64()), ("credits", _CREDITS_TYPE)]))),
    ]
)


@given(
    st.lists(st.none() | st.fixed_dictionaries({"id": st.just("i"), "lines": st.none() | st.lists(lines, max_size=3)})),
    st.integers(0, 3),
)
def test_records_arrays_and_their_nulls_stay_as_they_are(rows: list[object], start: int) -> None:
    seen: dict[str, list[float | None]] = {"cost": [], "amount": []}

    def replaced(value: object) -> object:
        if isinstance(value, list):
            return [replaced(each) for each in value]
        if isinstance(value, dict):
            for name, found in seen.items():
                found.extend([value[name]] if name in value else [])
            return {k: expected(v) if k in seen else replaced(v) for k, v in value.items()}
        return value

    conversion = converter(NESTED, "r.lines.cost", "r.lines.credits.amount")
    # a slice, whose offsets don't begin at zero
    made = conversion.convert(batch(NESTED, _NESTED_TYPE, rows).slice(start))
    assert made.column("r").to_pylist() == [replaced(each) for each in rows[start:]]
    found = conversion.statistics()
    assert (found["sum_0"], found["sum_1"]) == (total(seen["cost"]), total(seen["amount"]))
