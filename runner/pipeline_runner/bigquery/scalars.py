"""Writes single values of BigQuery's scalar types as JSON, or says why a value doesn't fit its type.

Numbers go as strings, which BigQuery's loads read as they are: a JSON number may pass through a float on its way.
https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data
"""

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from json.encoder import encode_basestring
from typing import Any

_BILLIONTH = Decimal("0.000000001")
_NUMERIC_LIMIT = Decimal("1e29")
_INTEGERS = range(-(2**63), 2**63)
# NUMERIC has 38 digits, BIGNUMERIC 77, and sums have more; Python's own context would round at 28.
DIGITS = Context(prec=200, rounding=ROUND_HALF_UP)


class UnfitValueError(ValueError):
    """A value doesn't fit its column; the message names the value."""


def rounded(value: Decimal) -> Decimal:
    """At nine decimals, half away from zero, as PARSE_NUMERIC does it."""
    return value.quantize(_BILLIONTH, context=DIGITS)


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise UnfitValueError(f"expected a text, got {value!r:.100}")
    return encode_basestring(value)


def _integer(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool) or value not in _INTEGERS:
        raise UnfitValueError(f"expected an integer of 64 bits, got {value!r:.100}")
    return f'"{int(value)}"'


def _boolean(value: object) -> str:
    if not isinstance(value, bool):
        raise UnfitValueError(f"expected true or false, got {value!r:.100}")
    return "true" if value else "false"


def _numeric(value: object) -> str:
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise UnfitValueError(f"expected a Decimal, got {value!r:.100}")
    exact = Decimal(value)
    # compared first: a quotient of a million digits isn't worth rounding
    if (
        not exact.is_finite()
        or exact.copy_abs() >= _NUMERIC_LIMIT
        or (kept := rounded(exact)).copy_abs() >= _NUMERIC_LIMIT
    ):
        raise UnfitValueError(f"expected an amount of less than 1e29, got {value!s:.100}")
    return f'"{kept or abs(kept):f}"'


def _date(value: object) -> str:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise UnfitValueError(f"expected a date, got {value!r:.100}")
    return _iso(value)


@functools.lru_cache(maxsize=256)
def _iso(day: date) -> str:
    """Remembered, since all rows of a day have it."""
    return f'"{day.isoformat()}"'


def _timestamp(value: object) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise UnfitValueError(f"expected a time with its zone, got {value!r:.100}")
    try:
        return _in_utc(value)
    except OverflowError:
        raise UnfitValueError(f"expected a time of the years 1 to 9999 in UTC, got {value!r:.100}") from None


@functools.lru_cache(maxsize=256)
def _in_utc(moment: datetime) -> str:
    """Remembered, since all rows of an interval have its times."""
    return f'"{moment.astimezone(UTC).isoformat()}"'


# Each gives a value as JSON.
SCALAR_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "STRING": _string,
    "INTEGER": _integer,
    "BOOLEAN": _boolean,
    "NUMERIC": _numeric,
    "DATE": _date,
    "TIMESTAMP": _timestamp,
}
