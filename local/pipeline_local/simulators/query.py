"""Reads a request's parameters as strictly as the services do: one that isn't known, or out of bounds, is refused."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_WHOLE_NUMBER = re.compile(r"-?\d{1,18}")

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class BadRequest(Exception):  # noqa: N818 - as HTTP names it
    """A request that the service refuses with 400; each provider words the code in its own way."""

    message: str
    param: str
    code: str


class Query:
    """The parameters of a request: those that may come once, and those that repeat, with or without brackets."""

    def __init__(self, pairs: Pairs, *, single: Collection[str], repeated: Collection[str], bare: bool) -> None:
        """With `bare`, repeated ones may be written without `[]`. Raises BadRequest."""
        self._single: dict[str, str] = {}
        self._repeated: dict[str, list[str]] = {}
        for written, value in pairs:
            name = written.removesuffix("[]")
            if name in repeated and (bare or written != name):
                self._repeated.setdefault(name, []).append(value)
            elif written not in single:
                raise BadRequest(f"Unknown parameter: '{written}'.", written, "unknown_parameter")
            elif written in self._single:
                raise BadRequest(f"Duplicate parameter: '{written}'.", written, "duplicate_parameter")
            else:
                self._single[written] = value

    def text(self, name: str) -> str | None:
        return self._single.get(name)

    def required(self, name: str) -> str:
        if (value := self._single.get(name)) is None:
            raise BadRequest(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
        return value

    def many(self, name: str) -> list[str]:
        return self._repeated.get(name, [])

    def choices(self, name: str, allowed: Collection[str], at_most: int | None = None) -> list[str]:
        """The values of a repeated parameter, each one of those allowed."""
        values = self.many(name)
        for value in values:
            if value not in allowed:
                supported = ", ".join(f"'{each}'" for each in allowed)
                message = f"Invalid value: '{value}'. Supported values are: {supported}."
                raise BadRequest(message, name, "invalid_value")
        if at_most is not None and len(values) > at_most:
            message = f"{name}: List should have at most {at_most} items after validation, not {len(values)}"
            raise BadRequest(message, name, "too_many_values")
        return values

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        value = self._single.get(name, default)
        if value not in allowed:
            supported = ", ".join(f"'{each}'" for each in allowed)
            raise BadRequest(f"Invalid value: '{value}'. Supported values are: {supported}.", name, "invalid_value")
        return value

    def number(self, name: str, default: int, at_least: int, at_most: int) -> int:
        value = default if name not in self._single else whole_number(name, self._single[name])
        if not at_least <= value <= at_most:
            above = value > at_most
            bound, code = (f"<= {at_most}", "above_max") if above else (f">= {at_least}", "below_min")
            message = f"Invalid '{name}': integer {'above maximum' if above else 'below minimum'} value. "
            message += f"Expected a value {bound}, but got {value} instead."
            raise BadRequest(message, name, f"integer_{code}_value")
        return value


def whole_number(name: str, text: str) -> int:
    """Raises BadRequest for anything but digits."""
    if not _WHOLE_NUMBER.fullmatch(text):
        message = f"Invalid type for '{name}': expected an integer, but got '{text}' instead."
        raise BadRequest(message, name, "invalid_type")
    return int(text)


def unix_time(name: str, text: str) -> datetime:
    """The moment of so many seconds since 1970. Raises BadRequest."""
    try:
        return datetime.fromtimestamp(whole_number(name, text), UTC)
    except (OverflowError, ValueError, OSError):
        raise BadRequest(f"Invalid '{name}': expected a unix time in seconds.", name, "invalid_value") from None


def rfc_3339(name: str, text: str) -> datetime:
    """The moment that a time stamp with an offset names. Raises BadRequest."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or "T" not in text.upper():
        raise BadRequest(f"{name}: Input should be a valid RFC 3339 datetime", name, "invalid_value")
    return moment.astimezone(UTC)


def cursor(start: datetime, query: Pairs) -> str:
    """What stands for the rest of a query from this bucket on: it means nothing to any other query."""
    text = json.dumps({"start": int(start.timestamp()), "query": _digest(query)})
    return "page_" + base64.urlsafe_b64encode(text.encode()).decode()


def read_cursor(text: str, query: Pairs) -> datetime:
    """Where a page begins. Raises BadRequest for a cursor that wasn't given for this query."""
    refusal = BadRequest("Invalid page token.", "page", "invalid_page")
    try:
        told: Mapping[str, object] = json.loads(base64.urlsafe_b64decode(text.removeprefix("page_")))
        start, digest = told["start"], told["query"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise refusal from None
    if not text.startswith("page_") or digest != _digest(query) or not isinstance(start, int):
        raise refusal
    return datetime.fromtimestamp(start, UTC)


def _digest(query: Pairs) -> str:
    kept = sorted((name.removesuffix("[]"), value) for name, value in query if name not in ("page", "limit"))
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]
