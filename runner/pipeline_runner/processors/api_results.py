"""Reads one JSON result of a provider's report into a row: each field checked, none guessed, none lost."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

# What Decimal would take and no amount is: underscores, spaces, NaN, infinities, digits of other scripts.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
# Exponents of more than four digits are refused, in Decimal's own notation as well.
_EXPONENTS = 10_000
# Digits before the point that are worth writing out: more than INT64 and NUMERIC hold.
_MOST_DIGITS = 60
_SHOWN = 100
# dict first: it is what JSON has, and asking for Mapping takes several times as long.
_OBJECT = (dict, Mapping)

Result = Mapping[str, Any]
Row = dict[str, object]


class UnfitError(ValueError):
    """A result that can't become a row: names the field, its value, and what is expected."""


def text(value: object) -> str:
    """A string as it is. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("a string")  # noqa: TRY004 - says what is expected; the reader adds the rest
    return value


def boolean(value: object) -> bool:
    """True or false, in no other spelling. Raises ValueError."""
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004
    return value


def decimal(value: object) -> Decimal:
    """A number exactly as it was written: OpenAI's specification has amounts as numbers, its service as strings.

    Raises ValueError.
    """
    if type(value) is Decimal and value.is_finite() and abs(value.adjusted()) < _EXPONENTS:
        return value  # as it was read from the JSON
    # By its text in either case: a binary float never gets between the provider's digits and ours.
    written = str(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal) or not _NUMBER.fullmatch(written):
        raise ValueError("a number, or a string that is one")
    return Decimal(written)


def whole(value: object) -> int:
    """A count: a whole number, in whatever notation (12, 12.0, 1.2E+1, "12"). Raises ValueError."""
    if type(value) is int and value.bit_length() < 64:
        return value  # nearly all are
    try:
        number = decimal(value)
    except ValueError:
        number = None
    if number is None or number.adjusted() > _MOST_DIGITS or number != number.to_integral_value():
        raise ValueError("a whole number")
    return int(number)


def hundredths(value: object) -> Decimal:
    """An amount in cents as one in units: "123.45" is 1.2345, exactly. Raises ValueError."""
    sign, digits, exponent = decimal(value).as_tuple()
    # The point is moved, since a division would round at the digits of Python's context.
    return Decimal((sign, digits, int(exponent) - 2))


def currency(value: object) -> str:
    """A currency's code in capitals: usd is USD. Raises ValueError."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z]{3}", value):
        raise ValueError("a currency's code of three letters")
    return value.upper()


@dataclass(frozen=True)
class Field:
    """A column, and where its value stands in a result: `path` by name, through objects within objects."""

    column: str
    path: tuple[str, ...]
    read: Callable[[object], object]
    required: bool = False

    def value(self, result: Result) -> object:
        """The column's value, None where the result has none. Raises UnfitError."""
        found: object = result
        for number, name in enumerate(self.path):
            if not isinstance(found, _OBJECT):
                raise _unfit(self.path[:number], found, "an object")
            found = found.get(name)
            if found is None:
                break
        if found is None:
            if self.required:
                raise UnfitError(f"{'.'.join(self.path)}: required, but missing")
            return None
        try:
            return self.read(found)
        except ValueError as error:
            raise _unfit(self.path, found, str(error)) from None


class ResultReader:
    """Reads the results of one report.

    `constants` stand in every row; `ignored` are fields that say nothing about the row, such as the kind of object.
    """

    def __init__(
        self, fields: Iterable[Field], *, constants: Mapping[str, object] | None = None, ignored: Iterable[str] = ()
    ) -> None:
        fields = tuple(fields)
        # What is read at once: nearly all values stand in the result itself, and are what they should be.
        self._steps = [(each.column, each.path[0], each.read if len(each.path) == 1 else None, each) for each in fields]
        self._constants = dict(constants or {})
        self._known = _tree([*(field.path for field in fields), *((name,) for name in ignored)])

    def read(self, result: object) -> Row:
        """The row of a result, without its bucket's columns; `further` holds the fields that no column is for.

        Raises UnfitError.
        """
        if not isinstance(result, _OBJECT):
            raise _unfit(("result",), result, "an object")
        row = self._constants.copy()
        for column, name, read, field in self._steps:
            found = result.get(name)
            if found is None and not field.required:
                row[column] = None
                continue
            try:
                row[column] = field.value(result) if read is None or found is None else read(found)
            except UnfitError:
                raise
            except ValueError:
                row[column] = field.value(result)  # which says why it doesn't fit
        row["further"] = _unknown(result, self._known) or None
        return row


def paths(further: object, within: str = "") -> Iterable[str]:
    """The names of the fields in a row's `further`, dotted, down to what isn't an object; none of None."""
    for name, value in further.items() if isinstance(further, Mapping) else ():
        here = f"{within}{name}"
        if isinstance(value, Mapping) and value:
            yield from paths(value, f"{here}.")
        else:
            yield here


_Tree = dict[str, "_Tree"]


def _tree(known: Iterable[tuple[str, ...]]) -> _Tree:
    root: _Tree = {}
    for path in known:
        branch = root
        for name in path:
            branch = branch.setdefault(name, {})
    return root


def _unknown(found: Result, known: _Tree) -> dict[str, Any]:
    """What of an object no column is for; fields that are null say nothing and are left out."""
    rest = {}
    for name, value in found.items():
        within = known.get(name)
        if within is None:
            if value is not None:
                rest[name] = value
        elif within and isinstance(value, _OBJECT) and (inner := _unknown(value, within)):
            rest[name] = inner
    return rest


def _unfit(path: tuple[str, ...], value: object, expected: str) -> UnfitError:
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return UnfitError(f"{'.'.join(path)}: expected {expected}, got {shown}")
