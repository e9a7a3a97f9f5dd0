"""Refuses a table whose decimals have fewer places than what is written to them: BigQuery would round, and say nothing.

https://cloud.google.com/bigquery/docs/reference/rest/v2/RoundingMode
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline_runner.bigquery.columns import Column, Described, by_name, canonical, parameters
from pipeline_runner.errors import ConfigError

# Of NUMERIC without a scale, which is what our amounts are made as.
_PLACES = 9
_DECIMALS = ("NUMERIC", "BIGNUMERIC")


def refuse_rounding(table: Described, wanted: tuple[Column, ...]) -> None:
    """Raise ConfigError naming the columns of a target, of those that are wanted, that round what they are given."""
    fields = table.to_api_repr().get("schema", {}).get("fields", ())
    if found := ", ".join(_rounding(fields, wanted)):
        raise ConfigError(
            f"target columns would round what is written to them: {found}; expected {' or '.join(_DECIMALS)} without a "
            "scale (ALTER TABLE … ALTER COLUMN … SET DATA TYPE NUMERIC)"
        )


def _rounding(fields: Iterable[Mapping[str, Any]], wanted: tuple[Column, ...], above: str = "") -> Iterator[str]:
    columns = by_name(wanted)
    for field in fields:
        column, path = columns.get(field["name"].lower()), f"{above}{field['name']}"
        if column is None:
            continue
        type_ = canonical(field["type"])
        yield from _rounding(field.get("fields", ()), column.fields, f"{path}.")
        # A precision alone means that there are no places at all.
        is_short = field.get("precision") and int(field.get("scale") or 0) < _PLACES
        if is_short and type_ in _DECIMALS and column.type in (*_DECIMALS, "FLOAT"):
            yield f"{path} is {type_}{parameters(field)}"
