"""Makes amounts exact in Arrow batches: FLOAT becomes NUMERIC by the rule of sql.decimal, and is summed on the way.

Rows that come by the Storage Read API are converted here, in memory, and not by a statement once they are loaded:
rebuilding arrays in SQL costs more than reading them. Both ways give the same value for every float.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any

import pyarrow
from pyarrow import compute

from pipeline_runner.bigquery.columns import Column, dotted
from pipeline_runner.bigquery.scalars import DIGITS

_NUMERIC = pyarrow.decimal128(38, 9)
_BILLIONTH = Decimal("0.000000001")
# Values of sql.py in the same places: what no NUMERIC can hold, and from where on rounding takes nothing.
_NUMERIC_LIMIT = 1e29
_ROUNDED_LIMIT = 1e7


@dataclass
class Tally:
    """What one column of money came to: its sum in billionths, values that are no amounts, and what rounding took.

    `wide` is the sum of values that have more places than NUMERIC.
    """

    billionths: int = 0
    wide: Decimal = Decimal(0)
    bad: int = 0
    lost: float = 0.0


class Conversion:
    """Converts the batches of one read, from the columns of the source to the `wanted` ones, and counts them.

    `money` are the leaves (dotted) that are summed: FLOAT in the source and NUMERIC in `wanted`, or exact. The wanted
    columns have the source's names in the source's order.
    """

    def __init__(self, source: tuple[Column, ...], wanted: tuple[Column, ...], money: tuple[str, ...]) -> None:
        self._columns = list(zip(source, wanted, strict=True))
        self._tallies = {name: Tally() for name in money}
        self._rows = 0

    def convert(self, batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
        """The batch with its money as decimals."""
        arrays = [self._value(batch.column(origin.name), origin, wanted, (wanted,)) for origin, wanted in self._columns]
        self._rows += batch.num_rows
        return pyarrow.RecordBatch.from_arrays(arrays, names=[wanted.name for _, wanted in self._columns])

    def statistics(self) -> Mapping[str, Any]:
        """What all batches so far came to, as a row of sql.statistics over the source would say it."""
        row: dict[str, Any] = {"row_count": self._rows}
        for number, tally in enumerate(self._tallies.values()):
            row[f"sum_{number}"] = DIGITS.add(DIGITS.scaleb(Decimal(tally.billionths), -9), tally.wide)
            row[f"bad_{number}"] = tally.bad
            row[f"lost_{number}"] = tally.lost
        return row

    def _value(
        self, array: pyarrow.Array, origin: Column, wanted: Column, path: tuple[Column, ...], *, element: bool = False
    ) -> pyarrow.Array:
        if not self._has_money(path):
            return array
        if origin.repeated and not element:
            # Offsets are made anew: those of the array may skip values, or lead to values of lists that are NULL.
            elements = self._value(array.flatten(), origin, wanted, path, element=True)
            lengths = compute.fill_null(array.value_lengths(), 0)
            zero = pyarrow.array([0], lengths.type)
            offsets = pyarrow.concat_arrays([zero, compute.cumulative_sum(lengths).cast(lengths.type)])
            kind = type(array)
            return kind.from_arrays(offsets, elements, mask=array.is_null() if array.null_count else None)
        if origin.type == "RECORD":
            pairs = zip(array.flatten(), origin.fields, wanted.fields, strict=True)
            children = [self._value(child, old, new, (*path, new)) for child, old, new in pairs]
            names = [field.name for field in wanted.fields]
            return pyarrow.StructArray.from_arrays(children, names, mask=array.is_null() if array.null_count else None)
        tally = self._tallies[dotted(path)]
        if origin.type == "FLOAT":
            return _exact(array, tally)
        if origin.type == "BIGNUMERIC":
            # Rare, so by Python's decimals: Arrow's would overflow without a word.
            tally.wide = reduce(DIGITS.add, (each for each in array.to_pylist() if each is not None), tally.wide)
        else:
            tally.billionths += _billionths(array)
        return array

    def _has_money(self, path: tuple[Column, ...]) -> bool:
        name = dotted(path)
        return any(money == name or money.startswith(f"{name}.") for money in self._tallies)


def _exact(floats: pyarrow.Array, tally: Tally) -> pyarrow.Array:
    """NUMERIC of FLOATs. `sql.decimal` has the proof that the short way is exact for those that are `clear`."""
    billionths = compute.multiply(floats, 1e9)
    whole = compute.round(billionths)
    size = compute.abs(floats)
    distance = compute.abs(compute.subtract(billionths, whole))
    clear = compute.less(distance, compute.subtract(0.5, compute.multiply(size, 5e-7)))  # NaN and infinities: false
    rounded = compute.if_else(clear, whole, None)
    # Below 2^53, so that the quotient is the float next to the decimal: the difference is what rounding took.
    tally.lost += compute.sum(compute.subtract(floats, compute.divide(rounded, 1e9))).as_py() or 0.0
    decimals = rounded.cast(pyarrow.int64()).cast(pyarrow.decimal128(38, 0)).view(_NUMERIC)
    tally.billionths += _billionths(decimals)
    unclear = compute.fill_null(compute.invert(clear), False)
    if compute.any(unclear).as_py():
        long_way = pyarrow.array([_decimal(each, tally) for each in floats.filter(unclear).to_pylist()], _NUMERIC)
        decimals = compute.replace_with_mask(decimals, unclear, long_way)
    return decimals


def _decimal(value: float, tally: Tally) -> Decimal | None:
    if not abs(value) < _NUMERIC_LIMIT:
        tally.bad += 1
        return None
    # Python's text of a float is the shortest decimal that stands for it, as BigQuery's is.
    decimal = Decimal(repr(value)).quantize(_BILLIONTH, context=DIGITS)
    tally.billionths += int(DIGITS.scaleb(decimal, 9))
    if abs(value) < _ROUNDED_LIMIT:
        tally.lost += value - float(decimal)
    return decimal


def _billionths(decimals: pyarrow.Array) -> int:
    """The exact sum, of NUMERIC or INTEGER: 128 bits wouldn't hold that of many of the largest."""
    total = compute.sum(decimals.cast(pyarrow.decimal256(76, 9))).as_py()
    return int(DIGITS.scaleb(total, 9)) if total is not None else 0
