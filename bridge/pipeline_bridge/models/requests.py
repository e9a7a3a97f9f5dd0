"""Bodies of requests: nothing is in them that isn't described, and nothing is taken for something else."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError


class RequestModel(BaseModel):
    """A body. `nullable` names the fields that null means something for; to be left out is something else."""

    model_config = ConfigDict(extra="forbid", strict=True)

    nullable: ClassVar[frozenset[str]] = frozenset()


Model = TypeVar("Model", bound=RequestModel)


def parse(model: type[Model], body: Mapping[str, object]) -> Model:
    """The body as that model. Raises RequestValidationError, which names each wrong field."""
    known = {field.alias or name for name, field in model.model_fields.items()}
    # Left out and null are different things, of which the model's None is the first.
    errors: list[Any] = [
        {"type": "value_error", "loc": ("body", name), "msg": "a value other than null", "input": None}
        for name, value in body.items()
        if value is None and name in known and name not in model.nullable
    ]
    try:
        found = model.model_validate(body)
    except ValidationError as error:
        errors += [{**each, "loc": ("body", *each["loc"])} for each in error.errors(include_url=False)]
    if errors:
        raise RequestValidationError(errors)
    return found
