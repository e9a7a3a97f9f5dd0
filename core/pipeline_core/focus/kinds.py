"""What types a provider table's columns must have for the cost view.

A table of the organization's dataset may be somebody else's work. One text among the amounts would make the view
unreadable for all providers, and a FLOAT would make every amount of the view inexact.
"""

from collections.abc import Collection, Mapping
from typing import Final

TEXT: Final = ("STRING",)
TIME: Final = ("TIMESTAMP",)
DATE: Final = ("DATE",)
AMOUNT: Final = ("NUMERIC", "BIGNUMERIC", "INTEGER", "FLOAT")

Kinds = Mapping[str, Collection[str]]
"""The types allowed, by the column's path: `cost`, `invoice.month`, and `credits[].amount` in a repeated record."""

Columns = Mapping[str, str]
"""The types that a table's columns have, by their paths. In the API's words: INTEGER, FLOAT."""


def usable(columns: Columns, kinds: Kinds) -> Columns:
    """The columns that the view can take: one of another type is as good as none."""
    return {name: type_ for name, type_ in columns.items() if type_ in kinds.get(name, ())}


def unfit(columns: Columns, kinds: Kinds, required: Collection[str]) -> list[str]:
    """What is wrong with columns that nothing can stand in for: `cost: STRING, expected NUMERIC, … or FLOAT`."""
    return [
        f"{name}: {columns.get(name, 'missing')}, expected {_either(kinds[name])}"
        for name in required
        if columns.get(name) not in kinds[name]
    ]


def _either(types: Collection[str]) -> str:
    *rest, last = types
    return f"{', '.join(rest)} or {last}" if rest else last
