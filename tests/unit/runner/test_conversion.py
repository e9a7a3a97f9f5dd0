"""Amounts that are made exact in memory: what is refused, and what is only summed."""

from decimal import Decimal, localcontext

import pyarrow
import pytest

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.conversion import Conversion

FLOAT, NUMERIC = Column("cost", "FLOAT"), Column("cost", "NUMERIC")


def of(values: list[object], kind: pyarrow.DataType) -> pyarrow.RecordBatch:
    return pyarrow.RecordBatch.from_arrays([pyarrow.array(values, kind)], names=["cost"])


def test_what_is_no_amount_is_counted_and_null() -> None:
    conversion = Conversion((FLOAT,), (NUMERIC,), ("cost",))
    made = conversion.convert(of([float("nan"), float("inf"), 1e29, -1e30, 1.5, None], pyarrow.float64()))
    assert made.column("cost").to_pylist() == [None, None, None, None, Decimal("1.5"), None]
    assert conversion.statistics()["bad_0"] == 4


def test_the_sum_of_many_batches_has_all_its_digits() -> None:
    conversion = Conversion((FLOAT,), (NUMERIC,), ("cost",))
    for _ in range(3):
        conversion.convert(of([9e28, 0.000000001, 0.000000001], pyarrow.float64()))
    found = conversion.statistics()
    assert (found["row_count"], found["sum_0"]) == (9, Decimal("270000000000000000000000000000.000000006"))


def test_what_rounding_takes_is_added_up() -> None:
    conversion = Conversion((FLOAT,), (NUMERIC,), ("cost",))
    conversion.convert(of([4e-10] * 10 + [0.1, 1234.567], pyarrow.float64()))
    assert conversion.statistics()["lost_0"] == pytest.approx(4e-9, abs=1e-18)


def test_a_numeric_column_is_summed_and_stays() -> None:
    conversion = Conversion((NUMERIC,), (NUMERIC,), ("cost",))
    largest = Decimal("99999999999999999999999999999.999999999")
    batch = of([largest, largest, Decimal("0.000000001"), None], pyarrow.decimal128(38, 9))
    assert conversion.convert(batch).equals(batch)
    assert conversion.statistics()["sum_0"] == Decimal("199999999999999999999999999999.999999999")


@pytest.mark.parametrize(
    ("type_", "kind", "values", "total"),
    [
        ("INTEGER", pyarrow.int64(), [2**63 - 1, 2**63 - 1, -5, None], Decimal(2**64 - 7)),
        (
            "BIGNUMERIC",
            pyarrow.decimal256(76, 38),
            ["1e37", "1e-38", "1e37", None],
            Decimal("2" + "0" * 37 + "." + "0" * 37 + "1"),
        ),
    ],
)
def test_other_exact_amounts_are_summed_and_stay(
    type_: str, kind: pyarrow.DataType, values: list[object], total: Decimal
) -> None:
    column = Column("cost", type_)
    conversion = Conversion((column,), (column,), ("cost",))
    with localcontext(prec=100):
        batch = of([Decimal(each) if isinstance(each, str) else each for each in values], kind)
        assert conversion.convert(batch).equals(batch)
        assert conversion.statistics()["sum_0"] == Decimal(total)


def test_without_rows_there_are_no_sums() -> None:
    found = Conversion((FLOAT,), (NUMERIC,), ("cost",)).statistics()
    assert found == {"row_count": 0, "sum_0": 0, "bad_0": 0, "lost_0": 0.0}


def test_columns_without_money_are_passed_as_they_are() -> None:
    text = Column("t", "STRING", repeated=True)
    conversion = Conversion((text, FLOAT), (text, NUMERIC), ("cost",))
    words = pyarrow.array([["a"], None, []], pyarrow.list_(pyarrow.string()))
    costs = pyarrow.array([1.0, 2.0, 3.0])
    made = conversion.convert(pyarrow.RecordBatch.from_arrays([costs, words], names=["cost", "t"]))
    assert made.column("t").equals(words)
    assert made.schema.names == ["t", "cost"]
