"""Pieces of SQL for the cost view: texts, amounts, and columns that a table may lack."""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_core.focus.columns import COLUMNS

ROW = "t"
"""The alias of a provider's table."""


def text(value: str) -> str:
    """A value as a string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def exact(number: str) -> str:
    """The NUMERIC of a number of any type: a FLOAT's shortest decimal; NULL where it is beyond NUMERIC's range.

    Never an error, since one odd row would make all of the view unreadable. A cast won't do: it gives a FLOAT's binary
    digits on BigQuery, and three decimals on its stand-in.
    """
    return f"IF(ABS({number}) < 1e28, PARSE_NUMERIC(CAST({number} AS STRING)), NULL)"


def filled(value: str) -> str:
    """A text that says something: NULL where it is empty or blank."""
    return f"NULLIF(TRIM({value}), '')"


@dataclass(frozen=True)
class Row:
    """One row of a table, of which these columns are there, by their paths: `cost`, `invoice.month`.

    Each with BigQuery's type, of those that `kinds` allows for it.
    """

    columns: Mapping[str, str]

    def has(self, name: str) -> bool:
        """Whether the table has such a column."""
        return name in self.columns

    def get(self, name: str, type_: str = "STRING") -> str:
        """The column's value; NULL of that type where the table hasn't got it."""
        return f"{ROW}.{name}" if self.has(name) else f"CAST(NULL AS {type_})"

    def money(self, name: str, value: str | None = None) -> str:
        """The amount in a column that is there, as NUMERIC or BIGNUMERIC; of `value`, where that stands for it."""
        value, type_ = value or f"{ROW}.{name}", self.columns[name]
        if type_ == "INTEGER":
            return f"CAST({value} AS NUMERIC)"
        return exact(value) if type_ == "FLOAT" else value

    def first_of(self, *names: str) -> str:
        """The first text that says something; NULL where the table has none of them."""
        there = [filled(f"{ROW}.{name}") for name in names if self.has(name)]
        return f"COALESCE({', '.join(there)})" if len(there) > 1 else (there or ["CAST(NULL AS STRING)"])[0]


def select(values: dict[str, str], table: str, rest: str = "") -> str:
    """A SELECT of all columns of the view, in their order, from a table (project.dataset.table), with what follows."""
    if missing := COLUMNS.keys() ^ values.keys():
        raise ValueError(f"the columns of the view and those of {table} differ by {sorted(missing)}")
    lines = ",\n  ".join(f"{values[name]} AS {name}" for name in COLUMNS)
    return f"SELECT\n  {lines}\nFROM `{table}` AS {ROW}{rest}"
