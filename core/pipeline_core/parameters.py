"""Parameters of a run: what a config declares, what a caller gave, and the effective values that follow."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pipeline_core import dates
from pipeline_core.errors import ParametersInvalidError
from pipeline_core.parameter_types import ParameterType, Value, convert_value
from pipeline_core.templates import TemplateResolver
from pipeline_core.wording import join_problems, shorten


class Parameter(BaseModel):
    """What a config says of one parameter; `default` may hold the built-in templates."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: Annotated[ParameterType, Field(strict=False)]
    required: bool = False
    default: Any = None
    description: str | None = None

    @field_validator("default")
    @classmethod
    def _default_is_scalar(cls, default: object) -> object:
        if default is None or isinstance(default, bool | int | float | str):
            return default
        raise ValueError(f"expected a string, a number, or true or false, got {shorten(default)}")


def effective_parameters(
    declared: Mapping[str, Parameter], given: Mapping[str, object], built_ins: Mapping[str, str]
) -> dict[str, Value]:
    """The typed values of a run: those given and the defaults that apply, in the order declared.

    Dates are `YYYY-MM-DD`, numbers plain decimal text. Raises ParametersInvalidError, which tells every problem.
    """
    values, problems = _convert_given(declared, given)
    aside = dates.set_aside(given.keys() & declared.keys())
    for name, parameter in declared.items():
        if name in given or name in aside:
            continue
        if parameter.default is not None:
            values[name] = resolve_default(name, parameter, built_ins)
        elif parameter.required:
            problems.append(f"parameter {name!r} is required")
    if problems:
        raise ParametersInvalidError(join_problems(problems))
    days = {name: date.fromisoformat(str(values[name])) for name in dates.DATE_PARAMETERS if name in values}
    try:
        completed = dates.complete(days, date.fromisoformat(built_ins["yesterday"]))
    except ValueError as error:
        raise ParametersInvalidError(str(error)) from None
    values.update({name: day.isoformat() for name, day in completed.items()})
    return {name: values[name] for name in declared if name in values}


def resolve_default(name: str, parameter: Parameter, built_ins: Mapping[str, str]) -> Value:
    """A parameter's default, its templates resolved and its type checked.

    Raises ParametersInvalidError if it isn't of the parameter's type, TemplateInvalidError if a template is wrong.
    """
    try:
        resolved = TemplateResolver().resolve({"default": parameter.default}, dict(built_ins))["default"]
        return convert_value(kind_of(name, parameter), resolved)
    except ValueError as error:
        raise ParametersInvalidError(f"default of parameter {name!r}: {error}") from None


def kind_of(name: str, parameter: Parameter) -> ParameterType:
    """The type that counts: `date`, `start_date` and `end_date` are dates, even if declared as strings."""
    return ParameterType.DATE if name in dates.DATE_PARAMETERS else parameter.type


def _convert_given(
    declared: Mapping[str, Parameter], given: Mapping[str, object]
) -> tuple[dict[str, Value], list[str]]:
    values: dict[str, Value] = {}
    problems: list[str] = []
    for name, value in given.items():
        if name not in declared:
            known = ", ".join(declared) or "none"
            problems.append(f"unknown parameter {shorten(name)}; known: {known}")
            continue
        try:
            values[name] = convert_value(kind_of(name, declared[name]), value)
        except ValueError as error:
            problems.append(f"parameter {name!r}: {error}")
    return values, problems
