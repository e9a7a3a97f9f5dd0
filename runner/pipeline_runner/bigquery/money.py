"""Which columns are amounts of money, and so become NUMERIC where the source has FLOAT.

Amounts are what people sum, so they must be exact: cost, cost_at_list, BilledCost, credits.amount. Prices of a unit,
rates and quantities aren't summed, and may need more than the nine decimals of NUMERIC (2.5e-10 USD a byte-second), so
they stay as the source has them unless the config names them.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from pipeline_runner.bigquery.columns import Column, dotted, leaves
from pipeline_runner.errors import ConfigError

_COST = re.compile(r"(?:.*_)?cost(?:_.*)?|.*Cost", re.DOTALL)
_AMOUNT_RECORDS = frozenset({"credits"})


def is_money(path: tuple[Column, ...]) -> bool:
    """Whether the rule takes this leaf for an amount of money, by its name and that of its record."""
    leaf = path[-1].name
    if leaf.lower() == "amount":
        return len(path) > 1 and path[-2].name.lower() in _AMOUNT_RECORDS
    return _COST.fullmatch(leaf) is not None or _COST.fullmatch(leaf.lower()) is not None


def exact(source: tuple[Column, ...], further: Iterable[str] = ()) -> tuple[Column, ...]:
    """The source's columns with FLOAT amounts of money turned to NUMERIC; `further` names more of them, dotted.

    An INTEGER among those is exact as it is. Raises ConfigError if one of `further` isn't a column of numbers.
    """
    kinds = {dotted(path).lower(): path[-1].type for path in leaves(source)}
    wanted = {name.lower(): name for name in further}
    for lower, name in wanted.items():
        if kinds.get(lower) not in ("FLOAT", "INTEGER", "NUMERIC"):
            found = kinds.get(lower, "not there")
            raise ConfigError(f"target.numeric: {name} should be a FLOAT column of the source; it is {found}")
    return _convert(source, (), wanted.keys())


def _convert(columns: tuple[Column, ...], path: tuple[Column, ...], wanted: Collection[str]) -> tuple[Column, ...]:
    converted = []
    for column in columns:
        here = (*path, column)
        if column.type == "RECORD":
            converted.append(replace(column, fields=_convert(column.fields, here, wanted)))
        elif column.type == "FLOAT" and (is_money(here) or dotted(here).lower() in wanted):
            converted.append(replace(column, type="NUMERIC"))
        else:
            converted.append(column)
    return tuple(converted)
