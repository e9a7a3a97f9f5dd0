"""Reads request bodies: JSON without what JSON leaves open, and what makes two requests the same."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

from fastapi import Request

from pipeline_bridge.paths import PREFIX
from pipeline_bridge.problems import Problem
from pipeline_bridge.refused_fields import invalid_fields
from pipeline_core.errors import ParametersInvalidError
from pipeline_core.wording import join_problems, shorten

_JSON = "application/json"
# Longer ones are no integers of 64 bits, and Python takes its time over very long ones.
_INTEGER_CHARACTERS = 20


async def body_of(request: Request) -> bytes:
    """The request's body. Raises Problem 415 where there is one that says to be anything else than JSON."""
    raw = await request.body()
    if raw.strip():
        for given in request.headers.getlist("Content-Type"):
            if given.partition(";")[0].strip().lower() != _JSON:
                detail = f"Content-Type: {shorten(given)}, expected {_JSON}"
                raise Problem(415, "UnsupportedMediaType", detail, headers={"Accept": _JSON})
    return raw


async def refuse_fields(request: Request) -> None:
    """Of an endpoint that takes no fields: no body, or an empty object. Raises Problem 400, 415, or 422 for each field.

    A misplaced field isn't passed over as if it had been done.
    """
    if fields := read_object(await body_of(request)):
        raise invalid_fields([{"field": name, "expected": "no such field"} for name in fields])


def read_object(raw: bytes) -> dict[str, Any]:
    """A JSON object; no body at all is an empty one.

    A number with a point or an exponent, and an integer of more than 64 bits, stays the text that it was written as:
    no digit is lost on its way to a parameter. Raises Problem 400 `MalformedJson` for anything else than an object, a
    field that is there twice, NaN and Infinity.
    """
    try:
        body = _DECODER.decode(raw.decode()) if raw.strip() else {}
    except UnicodeDecodeError as error:
        raise _invalid(f"expected UTF-8, got something else at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise _invalid(f"expected JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise _invalid("nested too deeply") from None
    if not isinstance(body, dict):
        raise _invalid(f"expected a JSON object such as {{}}, got {_KINDS[type(body)]}")
    return body


def read_parameters(raw: bytes) -> dict[str, str | int | bool]:
    """The flat body of a run: a value for each parameter by its name.

    Raises what `read_object` raises, and ParametersInvalidError for a value that is null, an object or an array.
    """
    body = read_object(raw)
    problems = [
        f"parameter {shorten(name)}: expected a string, a number, or true or false, got {_KINDS[type(value)]}"
        for name, value in body.items()
        if not isinstance(value, str | int | bool)
    ]
    if problems:
        raise ParametersInvalidError(join_problems(problems))
    return body


def fingerprint(method: str, path: str, body: Mapping[str, Any]) -> bytes:
    """What two requests have in common that ask for the same: their method, path and body, however it is written."""
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256("\n".join((method, path.removeprefix(PREFIX), canonical)).encode()).digest()


def _invalid(what: str) -> Problem:
    return Problem(400, "MalformedJson", f"body: {what}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _invalid(f"field {shorten(twice)} is there twice")
    return found


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _INTEGER_CHARACTERS else text


def _constant(text: str) -> NoReturn:
    raise _invalid(f"expected JSON, which has no {text}")


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=str, parse_int=_integer, parse_constant=_constant)
_KINDS = {
    dict: "an object",
    list: "an array",
    str: "a string",
    int: "a number",
    bool: "true or false",
    type(None): "null",
}
