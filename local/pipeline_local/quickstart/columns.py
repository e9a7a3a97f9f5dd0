"""Arrow columns from NumPy's arrays: picks from pools, nulls, records, and repeated records."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Flags = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def pick(pool: Sequence[Any], chosen: Integers, kind: pa.DataType | None = None) -> pa.Array:
    """The members of a pool, such as strings, that `chosen` counts off."""
    return pa.array(pool, kind or pa.string()).take(pa.array(chosen))


def constant(value: str | None, rows: int) -> pa.Array:
    """One text, or null, in every row."""
    return pa.repeat(pa.scalar(value, pa.string()), rows)


def only(there: Flags, column: pa.Array) -> pa.Array:
    """The column with nulls wherever it isn't `there`."""
    return pc.if_else(pa.array(there), column, pa.scalar(None, column.type))


def record(**fields: pa.Array) -> pa.StructArray:
    """A record that is there in every row, even if all its fields are null."""
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))


def repeated(lengths: Integers, members: pa.Array) -> pa.ListArray:
    """Lists of these lengths, filled from `members` one after the other."""
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), members)


def positions(lengths: Integers) -> Integers:
    """For each member of lists of these lengths, which one within its list it is: [2, 0, 3] gives 0 1 0 1 2."""
    ends = np.cumsum(lengths)
    return np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths)


def distinct(generator: np.random.Generator, lengths: Integers, pool: int) -> Integers:
    """Members of a pool of this size for lists of these lengths, none twice within a list."""
    first = generator.integers(0, pool, len(lengths))
    return (np.repeat(first, lengths) + positions(lengths)) % pool
