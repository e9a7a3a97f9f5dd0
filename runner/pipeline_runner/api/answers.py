"""Reads the body of an answer: JSON with exact numbers, or what a provider says about an error."""

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NoReturn

from pipeline_runner.masking import MASK, masked

_MAX_LENGTH = 500
_REQUEST_IDS = ("request-id", "x-request-id")
# Providers repeat a wrong key in part.
_KEY = re.compile(r"\bsk-[A-Za-z0-9*_.…-]{4,}")
_TAGS = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def said(text: str) -> str:
    """What others said, without secrets, in one line of printable characters, cut where it is long."""
    # Masked before it is cut: half a key may be too short to be recognized.
    text = _KEY.sub(MASK, masked(text))
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= _MAX_LENGTH else f"{line[:_MAX_LENGTH]} …"


def read_object(body: bytes | bytearray) -> dict[str, Any] | None:
    """The JSON object of a body, numbers with a point as Decimal; None for what isn't JSON.

    Raises TypeError for JSON that isn't an object.
    """
    try:
        value = json.loads(body, parse_float=Decimal, parse_constant=_refuse)
    # ArithmeticError: an exponent that no Decimal has. RecursionError: nested without end.
    except (ValueError, ArithmeticError, RecursionError):
        return None
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, got {type(value).__name__}")
    return value


def error_text(headers: Mapping[str, str], body: bytes | bytearray) -> str:
    """What the answer says about its error, in one line: message, kinds and the provider's id of the request."""
    answer, error = _error(body)
    if error is None:
        message = _TAGS.sub(" ", body.decode("utf-8", "replace"))
    else:
        message = str(error.get("message") or "no message")
    found = (answer.get("request_id"), *(headers.get(name) for name in _REQUEST_IDS))
    request_id = next((each for each in found if each and isinstance(each, str)), None)
    notes = [*dict.fromkeys(_kinds(error)), *([f"request id {request_id}"] if request_id else [])]
    text = said(message) or "an empty body"
    return f"{text} ({said(', '.join(notes))})" if notes else text


def error_kinds(body: bytes | bytearray) -> list[str]:
    """The provider's words for the kind of error: its type and its code, as far as the answer has them."""
    return _kinds(_error(body)[1])


def _error(body: bytes | bytearray) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The object that was answered, empty if it is none, and the error in it."""
    try:
        answer = read_object(body) or {}
    except TypeError:
        answer = {}
    error = answer.get("error")
    if isinstance(error, str):
        error = {"message": error}
    return answer, error if isinstance(error, dict) else None


def _kinds(error: dict[str, Any] | None) -> list[str]:
    if error is None:
        return []
    return [each for name in ("type", "code") if (each := error.get(name)) and isinstance(each, str)]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} isn't JSON")
