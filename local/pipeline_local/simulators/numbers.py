"""Writes JSON with exact numbers, and amounts in the several ways in which the live services write them."""

import json
import re
import zlib
from decimal import Decimal, localcontext
from typing import Any

_MARK = re.compile(r'"\\u0000([^"\\]*)\\u0000"')
FORMS = ("mixed", "strings", "numbers")


class Literal:
    """A number that is written with exactly these digits, which a float couldn't hold."""

    def __init__(self, text: str) -> None:
        self.text = text


def dumps(document: Any) -> bytes:
    """The document as JSON, its literals as they are."""
    text = json.dumps(document, default=_marked, separators=(",", ":"))
    return _MARK.sub(r"\1", text).encode()


def _marked(value: object) -> str:
    if isinstance(value, Literal):
        return f"\0{value.text}\0"
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def plain(amount: Decimal) -> str:
    """All digits, without exponent and without zeros at the end."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def scientific(amount: Decimal) -> str:
    """All digits, with an exponent: 1.25E-7."""
    with localcontext(prec=60):
        return format(amount.normalize(), "E")


def amount(value: Decimal, form: str) -> str | Literal:
    """An amount in this form. Mixed: one amount is always written the same way, and each way is taken by some."""
    if form == "strings":
        return plain(value)
    if form == "numbers":
        return Literal(plain(value))
    choice = zlib.crc32(plain(value).encode()) % 10
    text = scientific(value) if choice >= 8 else plain(value)
    return text if choice % 2 == 0 else Literal(text)
