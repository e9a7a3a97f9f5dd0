"""What is wrong with a request's fields, each by name: of FastAPI's validation, and query parameters nobody knows."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import APIRoute

from pipeline_bridge.problems import Problem
from pipeline_core.wording import dotted, join_problems

MOST_ERRORS = 20
_TEXT_SHOWN = 100
# Of 64 bits; clients' own numbers have no more either.
_INTEGER_BITS_SHOWN = 64
# By pydantic's type of error, where its words wouldn't say what is expected.
_EXPECTED = {
    "missing": "a value: it is required",
    "extra_forbidden": "no such field",
    "model_attributes_type": "a JSON object, with Content-Type: application/json",
    "dict_type": "a JSON object, with Content-Type: application/json",
}
_PREFIXES = ("Input should be ", "Value error, ", "Assertion failed, ")

FieldError = Mapping[str, object]


def problem_of_validation(error: RequestValidationError) -> Problem:
    """A 400 for a body that isn't JSON; else a 422 that names each field, what was given, and what is expected."""
    found = error.errors()
    for each in found:
        if each["type"] == "json_invalid":
            why, position = each["ctx"]["error"], each["loc"][-1]
            return Problem(400, "MalformedJson", f"body: expected JSON: {why} at character {position}")
    return invalid_fields([_field_error(each) for each in found])


def invalid_fields(errors: Sequence[FieldError]) -> Problem:
    """A 422 with the first of these as its `errors`, each `{field, value?, expected}`; values are as they were given.

    `more_errors` says how many others there are.
    """
    members: dict[str, object] = {"errors": [_shown(each) for each in errors[:MOST_ERRORS]]}
    if len(errors) > MOST_ERRORS:
        members["more_errors"] = len(errors) - MOST_ERRORS
    return Problem(422, "RequestInvalid", join_problems([_Told(each) for each in errors]), members=members)


def refuse_unknown_query(request: Request) -> None:
    """Raises Problem (422) for query parameters that the endpoint doesn't know; a dependency, too."""
    if not request.scope["query_string"]:
        return
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = [each.alias for each in get_flat_params(route.dependant) if isinstance(each.field_info, Query)]
    unknown = sorted(request.query_params.keys() - set(known))
    if unknown:
        expected = f"one of the query parameters {', '.join(known)}" if known else "no query parameters"
        raise invalid_fields([{"field": name, "expected": expected} for name in unknown])


class _Told:
    """An error in words, once they are asked for: there may be thousands, and a few are told."""

    def __init__(self, error: FieldError) -> None:
        self._error = error

    def __str__(self) -> str:
        error = self._error
        given = f"{_quoted(error['value'])}, " if "value" in error else ""
        return f"{_cut(str(error['field']))}: {given}expected {error['expected']}"


def _shown(error: FieldError) -> FieldError:
    """The error as the answer has it: without a value that is long and no text, and with the begin of a long text."""
    shown = {**error, "field": _cut(str(error["field"]))}
    match error.get("value"):
        case str(text):
            shown["value"] = _cut(text)
        case dict() | list() | tuple():
            del shown["value"]
        case float(number) if not math.isfinite(number):
            del shown["value"]
        case int(number) if number.bit_length() > _INTEGER_BITS_SHOWN:
            del shown["value"]
    return shown


def _field_error(error: Mapping[str, Any]) -> FieldError:
    place, *rest = error["loc"]
    found: dict[str, object] = {"field": dotted(tuple(rest) or (place,))}
    if error["type"] not in ("missing", "extra_forbidden"):
        found["value"] = error.get("input")
    found["expected"] = _EXPECTED.get(error["type"]) or _expected(str(error["msg"]))
    return found


def _expected(message: str) -> str:
    for prefix in _PREFIXES:
        message = message.removeprefix(prefix)
    return message


def _quoted(value: object) -> str:
    """What was given, in words of JSON; a text in quotes, but for what is said of it."""
    match value:
        case str(text) if len(text) > _TEXT_SHOWN:
            return f"{text[:_TEXT_SHOWN]!r}… ({len(text)} characters)"
        case str(text):
            return repr(text)
        case dict():
            return "an object"
        case list() | tuple():
            return "an array"
        case int(number) if number.bit_length() > _INTEGER_BITS_SHOWN:
            return f"an integer of {number.bit_length()} bits"
    return json.dumps(value, default=str)


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_SHOWN else f"{text[:_TEXT_SHOWN]}…"
