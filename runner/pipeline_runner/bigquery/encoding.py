"""Writes rows as lines of JSON from which BigQuery loads exactly what they hold, or says what doesn't fit.

Numbers go as strings, which BigQuery's loads read as they are: a JSON number may pass through a float on its way.
https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-json#details_of_loading_json_data
"""

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from json.encoder import encode_basestring
from typing import Any

from pipeline_runner.bigquery.columns import Column, by_name

# Made once: json.dumps makes one for each call that says how.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_BILLIONTH = Decimal("0.000000001")
_NUMERIC_LIMIT = Decimal("1e29")
_INTEGERS = range(-(2**63), 2**63)
# What a JSON column holds as a number without a loss; others are kept as strings.
_JSON_INTEGERS = range(-(2**63), 2**64)
# NUMERIC has 38 digits and sums have more; Python's own context would round at 28.
DIGITS = Context(prec=200, rounding=ROUND_HALF_UP)
# One row must not fill the memory; BigQuery's own limit is 100 MB.
_MAX_ROW_BYTES = 8 * 1024 * 1024


class UnfitRowError(ValueError):
    """A row doesn't fit its table; the message names column and value."""


class RowEncoder:
    """Encodes the rows of one table, and keeps the exact sums of its NUMERIC columns.

    `required` are columns that every row has a value in. Raises ValueError for a column of a type that rows can't have.
    """

    def __init__(self, columns: tuple[Column, ...], required: frozenset[str]) -> None:
        for column in columns:
            if column.type not in _WRITERS:
                raise ValueError(f"column {column.name} is {column.kind}, expected one of {', '.join(_WRITERS)}")
        self._steps = [
            (each.name, f"{encode_basestring(each.name)}:", _WRITERS[each.type], each.repeated, each.name in required)
            for each in by_name(columns).values()
        ]
        self._names = {column.name for column in columns}
        self.money = tuple(each.name for each in columns if each.type == "NUMERIC" and not each.repeated)
        self._sums = dict.fromkeys(self.money, Decimal(0))
        self._lost = dict.fromkeys(self.money, Decimal(0))
        self.rows = 0

    def encode(self, row: Mapping[str, object]) -> bytes:
        """One line, its end included. Raises UnfitRowError, with the sums as they were."""
        if not row.keys() <= self._names:
            raise UnfitRowError(f"{min(row.keys() - self._names)}: there is no such column")
        written = []
        for name, key, write, repeated, required in self._steps:
            value = row.get(name)
            if value is None:
                if required:
                    raise UnfitRowError(f"{name}: expected a value, got NULL")
                continue
            try:
                written.append(key + (write(value) if not repeated else _written_list(write, value)))
            except UnfitRowError as error:
                raise UnfitRowError(f"{name}: {error}") from None
            except RecursionError:
                raise UnfitRowError(f"{name}: the value is nested too deeply") from None
        try:
            line = f"{{{','.join(written)}}}".encode()
        except UnicodeEncodeError as error:
            bad = error.object[error.start : error.start + 1]
            raise UnfitRowError(f"{_column_of(written, bad)}: {bad!a} is no character") from None
        if len(line) > _MAX_ROW_BYTES:
            raise UnfitRowError(f"the row takes {len(line)} bytes, and at most {_MAX_ROW_BYTES} are allowed")
        self._count(row)
        return line + b"\n"

    def statistics(self) -> dict[str, Any]:
        """What all rows so far came to, as a row of sql.statistics over them would say it."""
        row: dict[str, Any] = {"row_count": self.rows}
        for number, name in enumerate(self.money):
            row[f"sum_{number}"], row[f"lost_{number}"] = self._sums[name], self._lost[name]
        return row

    def _count(self, row: Mapping[str, object]) -> None:
        self.rows += 1
        for name in self.money:
            if (value := row.get(name)) is not None:
                exact = Decimal(value)  # type: ignore[arg-type]
                kept = rounded(exact)
                self._sums[name] = DIGITS.add(self._sums[name], kept)
                self._lost[name] = DIGITS.add(self._lost[name], DIGITS.subtract(exact, kept))


def rounded(value: Decimal) -> Decimal:
    """At nine decimals, half away from zero, as PARSE_NUMERIC does it."""
    return value.quantize(_BILLIONTH, context=DIGITS)


def json_value(value: object, *, lenient: bool = False) -> Any:
    """A value as it goes into a JSON column: numbers that a float doesn't hold become strings.

    Raises UnfitRowError for what JSON doesn't have; `lenient` takes its text instead.
    """
    match value:
        case None | bool() | str():
            return value
        case int():
            return value if value in _JSON_INTEGERS else str(value)
        case Decimal() if value.is_finite():
            short = float(value)
            return short if Decimal(repr(short)) == value else str(value)
        case Mapping():
            if not lenient and (bad := [key for key in value if not isinstance(key, str)]):
                raise UnfitRowError(f"expected JSON, got the key {bad[0]!r:.100}")
            return {str(key): json_value(each, lenient=lenient) for key, each in value.items()}
        case list() | tuple():
            return [json_value(each, lenient=lenient) for each in value]
        case _ if lenient:
            return str(value)
        case _:
            raise UnfitRowError(f"expected JSON, got {value!r:.100}")


def _written_list(write: Callable[[Any], str], value: object) -> str:
    return f"[{','.join([write(each) for each in _list(value)])}]"


def _list(value: object) -> list[object] | tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise UnfitRowError(f"expected a list, got {value!r:.100}")
    return value


def _string(value: object) -> str:
    if not isinstance(value, str):
        raise UnfitRowError(f"expected a text, got {value!r:.100}")
    return encode_basestring(value)


def _integer(value: object) -> str:
    if not isinstance(value, int) or isinstance(value, bool) or value not in _INTEGERS:
        raise UnfitRowError(f"expected an integer of 64 bits, got {value!r:.100}")
    return f'"{int(value)}"'


def _boolean(value: object) -> str:
    if not isinstance(value, bool):
        raise UnfitRowError(f"expected true or false, got {value!r:.100}")
    return "true" if value else "false"


def _numeric(value: object) -> str:
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise UnfitRowError(f"expected a Decimal, got {value!r:.100}")
    exact = Decimal(value)
    # compared first: a quotient of a million digits isn't worth rounding
    if (
        not exact.is_finite()
        or exact.copy_abs() >= _NUMERIC_LIMIT
        or (kept := rounded(exact)).copy_abs() >= _NUMERIC_LIMIT
    ):
        raise UnfitRowError(f"expected an amount of less than 1e29, got {value!s:.100}")
    return f'"{kept or abs(kept):f}"'


def _date(value: object) -> str:
    if not isinstance(value, date) or isinstance(value, datetime):
        raise UnfitRowError(f"expected a date, got {value!r:.100}")
    return _iso(value)


@functools.lru_cache(maxsize=256)
def _iso(day: date) -> str:
    """Remembered, since all rows of a day have it."""
    return f'"{day.isoformat()}"'


def _timestamp(value: object) -> str:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise UnfitRowError(f"expected a time with its zone, got {value!r:.100}")
    try:
        return _in_utc(value)
    except OverflowError:
        raise UnfitRowError(f"expected a time of the years 1 to 9999 in UTC, got {value!r:.100}") from None


@functools.lru_cache(maxsize=256)
def _in_utc(moment: datetime) -> str:
    """Remembered, since all rows of an interval have its times."""
    return f'"{moment.astimezone(UTC).isoformat()}"'


def _json(value: object) -> str:
    return _JSON.encode(json_value(value))


# Each gives a value as JSON.
_WRITERS: Mapping[str, Callable[[Any], str]] = {
    "STRING": _string,
    "INTEGER": _integer,
    "BOOLEAN": _boolean,
    "NUMERIC": _numeric,
    "DATE": _date,
    "TIMESTAMP": _timestamp,
    "JSON": _json,
}


def _column_of(written: Iterable[str], bad: str) -> str:
    """The column whose text can't be encoded; no name of a column has such a character."""
    return next((json.JSONDecoder().raw_decode(each)[0] for each in written if bad in each), "a column")
