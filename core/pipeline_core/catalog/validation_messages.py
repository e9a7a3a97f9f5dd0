"""Says in plain words what pydantic found wrong with a file."""

from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pipeline_core.wording import FieldPath, shorten

NO_CREDENTIALS: Final = "a config is no place for a credential: put it into the integration's Secret"

_EXPECTED = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "an integer",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
}


def describe(detail: ErrorDetails, model: type[BaseModel]) -> tuple[FieldPath, str]:
    """The path of the field that an error of `model` is about, and what is wrong there."""
    # A union's tag stands in angle brackets, and an error about a key is followed by "[key]".
    path = tuple(step for step in detail["loc"] if step != "[key]" and not str(step).startswith("<"))
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    got = "nothing" if value is None else shorten(value)
    match kind:
        case "missing":
            return path, "required, but missing"
        case "extra_forbidden":
            return path, f"unknown field; known here: {', '.join(_known_fields(model, path[:-1]))}"
        case "string_type" if isinstance(value, int | float):
            return path, f"expected a string, got {got}: put quotes around it"
        case "string_pattern_mismatch":
            return path, f"{got} doesn't match {context['pattern']}"
        case "enum" | "literal_error":
            return path, f"expected {context['expected']}, got {got}"
        case "value_error":
            return path, str(context["error"])
        case _ if kind in _EXPECTED:
            return path, f"expected {_EXPECTED[kind]}, got {got}"
    message = detail["msg"]
    return path, f"{message[:1].lower()}{message[1:]}, got {got}"


def _known_fields(model: type[BaseModel], path: FieldPath) -> list[str]:
    """The fields of the model that stands at `path` within `model`."""
    models = [model]
    for step in path:
        for candidate in models:
            fields = {info.alias or name: info for name, info in candidate.model_fields.items()}
            if step in fields:
                models = list(_models_in(fields[str(step)].annotation))
                break
    # Only a model that forbids further fields complains of one.
    strict = next((candidate for candidate in models if candidate.model_config.get("extra") == "forbid"), model)
    return [info.alias or name for name, info in strict.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
