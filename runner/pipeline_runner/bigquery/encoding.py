"""Writes rows as lines of JSON from which BigQuery loads exactly what they hold, or says what doesn't fit."""

import json
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

from pipeline_runner.bigquery.columns import Column, by_name
from pipeline_runner.bigquery.scalars import DIGITS, SCALAR_WRITERS, UnfitValueError, rounded

# Made once: json.dumps makes one for each call that says how.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
# What a JSON column holds as a number without a loss; others are kept as strings.
_JSON_INTEGERS = range(-(2**63), 2**64)
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
            except UnfitValueError as error:
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


def json_value(value: object, *, lenient: bool = False) -> Any:
    """A value as it goes into a JSON column: numbers that a float doesn't hold become strings.

    Raises UnfitValueError for what JSON doesn't have; `lenient` takes its text instead.
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
                raise UnfitValueError(f"expected JSON, got the key {bad[0]!r:.100}")
            return {str(key): json_value(each, lenient=lenient) for key, each in value.items()}
        case list() | tuple():
            return [json_value(each, lenient=lenient) for each in value]
        case _ if lenient:
            return str(value)
        case _:
            raise UnfitValueError(f"expected JSON, got {value!r:.100}")


def _written_list(write: Callable[[Any], str], value: object) -> str:
    return f"[{','.join([write(each) for each in _list(value)])}]"


def _list(value: object) -> list[object] | tuple[object, ...]:
    if not isinstance(value, list | tuple):
        raise UnfitValueError(f"expected a list, got {value!r:.100}")
    return value


def _json(value: object) -> str:
    return _JSON.encode(json_value(value))


_WRITERS: Mapping[str, Callable[[Any], str]] = {**SCALAR_WRITERS, "JSON": _json}


def _column_of(written: Iterable[str], bad: str) -> str:
    """The column whose text can't be encoded; no name of a column has such a character."""
    return next((json.JSONDecoder().raw_decode(each)[0] for each in written if bad in each), "a column")
