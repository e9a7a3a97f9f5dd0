"""The types of parameters, and how a caller's value becomes one of them without loss.

Values come from a custom resource as integers or text, and from HTTP as any JSON scalar. A value of another type is
taken only where nothing is lost or guessed: "10" is an integer's 10, but 1.5 is no integer, and 1 no boolean.
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum

from pipeline_core.dates import parse_date
from pipeline_core.wording import shorten

MAX_TEXT = 1_000
# Before and after the point each, as BigQuery's BIGNUMERIC holds them.
MAX_NUMBER_DIGITS = 38

_INT64 = 2**63
_INTEGER = re.compile(r"-?[0-9]{1,19}")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")

# What a parameter holds in a run document. A number is plain decimal text.
Value = bool | int | str


class ParameterType(StrEnum):
    """The types a config may declare; the words are the config's."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"


def convert_value(kind: ParameterType, value: object) -> Value:
    """A value in a parameter's type.

    Integers have at most 64 bits, texts at most 1,000 characters. Numbers become plain decimal text ("0.1"): as JSON
    numbers, most readers would make binary floats of them. Raises ValueError, which says what was expected and quotes
    no more than the beginning of the value.
    """
    if isinstance(value, str):
        _check_text(value)
    return _CONVERTERS[kind](value)


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise ValueError(f"{len(text)} characters; at most {MAX_TEXT} are allowed")
    # PostgreSQL's jsonb holds no NUL, and UTF-8 no half of a surrogate pair.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds a character that can't be stored (NUL, or half of a surrogate pair)")


def _string(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -_INT64 <= value < _INT64:
        return str(value)
    raise ValueError(f"expected a string, got {shorten(value)}")


def _integer(value: object) -> int:
    number: int | None = None
    if (isinstance(value, str) and _INTEGER.fullmatch(value)) or (isinstance(value, float) and value.is_integer()):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None:
        raise ValueError(f"expected an integer, got {shorten(value)}")
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"expected an integer of 64 bits, got {shorten(value)}")
    return number


def _number(value: object) -> str:
    number: Decimal | None = None
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        number = Decimal(value)
    elif isinstance(value, float) and math.isfinite(value):
        number = Decimal(repr(value))  # the shortest decimal that means this float, which is what was written
    elif isinstance(value, int) and not isinstance(value, bool):
        number = Decimal(value)
    if number is None:
        raise ValueError(f"expected a number, got {shorten(value)}")
    if number == 0:
        return "0"
    if number.adjusted() >= MAX_NUMBER_DIGITS or -int(number.as_tuple().exponent) > MAX_NUMBER_DIGITS:
        raise ValueError(
            f"expected at most {MAX_NUMBER_DIGITS} digits before and after the point, got {shorten(value)}"
        )
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError(f"expected true or false, got {shorten(value)}")


def _date(value: object) -> str:
    try:
        return parse_date(value if isinstance(value, str) else "").isoformat()
    except ValueError as error:
        raise ValueError(f"{error}, got {shorten(value)}") from None


_CONVERTERS: dict[ParameterType, Callable[[object], Value]] = {
    ParameterType.STRING: _string,
    ParameterType.INTEGER: _integer,
    ParameterType.NUMBER: _number,
    ParameterType.BOOLEAN: _boolean,
    ParameterType.DATE: _date,
}
