"""Describes optional fields as what they are: left out where there is nothing, never null."""

from collections.abc import Callable, Collection
from typing import Any

Schema = dict[str, Any]


def never_null(*, but: Collection[str] = (), **more: Any) -> Callable[[Schema], None]:
    """For `json_schema_extra`: pydantic describes a field with the default None as one that may be null.

    `but` names the fields that really may be; `more` is added to the schema.
    """

    def describe(schema: Schema) -> None:
        for name, field in schema["properties"].items():
            field.pop("default", None)
            if name not in but and "anyOf" in field:
                kinds = [kind for kind in field.pop("anyOf") if kind.get("type") != "null"]
                schema["properties"][name] = {**(kinds[0] if len(kinds) == 1 else {"anyOf": kinds}), **field}
        schema.update(more)

    return describe
