"""What is wrong with a request's fields, each by name: of FastAPI's validation, and query parameters nobody knows."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import Query
from fastapi.routing import APIRoute

from pipeline_bridge.problems import Problem
from pipeline_core.wording import dotted, join_problems, shorten

_STRING_SHOWN = 100
# By pydantic's type of error, where its words wouldn't say what is expected.
_EXPECTED = {
    "missing": "a value: it is required",
    "extra_forbidden": "no such field",
    "model_attributes_type": "a JSON object, with Content-Type: application/json",
    "dict_type": "a JSON object, with Content-Type: application/json",
}
_PREFIXES = ("Input should be ", "Value error, ", "Assertion failed, ")

FieldError = dict[str, object]


def problem_of_validation(error: RequestValidationError) -> Problem:
    """A 400 for a body that isn't JSON; else a 422 that names each field, what was given, and what is expected."""
    found = error.errors()
    for each in found:
        if each["type"] == "json_invalid":
            why, position = each["ctx"]["error"], each["loc"][-1]
            return Problem(400, "MalformedJson", f"body: expected JSON: {why} at character {position}")
    return invalid_fields([_field_error(each) for each in found])


def invalid_fields(errors: Sequence[FieldError]) -> Problem:
    """A 422 with these as its `errors`, each `{field, value?, expected}`."""
    told = [
        f"{each['field']}: "
        + (f"{_quoted(each['value'])}, " if "value" in each else "")
        + f"expected {each['expected']}"
        for each in errors
    ]
    return Problem(422, "RequestInvalid", join_problems(told), members={"errors": list(errors)})


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
        raise invalid_fields([{"field": shown(name), "expected": expected} for name in unknown])


def shown(value: object) -> Any:
    """A value as an answer may repeat it: short."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and value.bit_length() <= 64:
        return value
    if isinstance(value, str) and len(value) <= _STRING_SHOWN:
        return value
    return shorten(value)


def _field_error(error: Mapping[str, Any]) -> FieldError:
    place, *rest = error["loc"]
    path = tuple(rest) or (place,)
    found: FieldError = {"field": shown(dotted(path))}
    if error["type"] not in ("missing", "extra_forbidden"):
        found["value"] = shown(error.get("input"))
    found["expected"] = _EXPECTED.get(error["type"]) or _expected(str(error["msg"]))
    return found


def _expected(message: str) -> str:
    for prefix in _PREFIXES:
        message = message.removeprefix(prefix)
    return message


def _quoted(value: object) -> str:
    return shorten(value) if isinstance(value, str) else str(value)
