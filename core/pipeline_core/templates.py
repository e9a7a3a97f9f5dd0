"""Resolves `{{variable}}` in a config: strictly, over parsed values, and once.

What a variable holds is data: a `{{` inside it is never looked at again. Keys aren't templated. A text that is one
whole template takes the variable's type; inside a longer text, the variable is written as text.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_core.errors import TemplateInvalidError
from pipeline_core.identifiers import NAME
from pipeline_core.wording import FieldPath, dotted, join_problems, shorten

MAX_DEPTH = 20
# What all texts of one config may come to, in characters: a run document holds no more either.
MAX_CHARACTERS = 128 * 1024

BUILT_INS = ("org_slug", "env", "date", "yesterday", "year", "month", "day", "run_id")

_BRACES = re.compile(r"\{\{([^{}]*)\}\}|\{\{|\}\}")


def built_in_variables(*, org_slug: str, env: str, run_id: str, logical_time: datetime) -> dict[str, str]:
    """The eight variables every config may use; all are strings, zero-padded, of the logical time's day in UTC.

    `date` is the run's day, never its parameter of that name. `logical_time` must know its zone.
    """
    day = logical_time.astimezone(UTC).date()
    return {
        "org_slug": org_slug,
        "env": env,
        "date": day.isoformat(),
        "yesterday": (day - timedelta(days=1)).isoformat(),
        "year": f"{day.year:04}",
        "month": f"{day.month:02}",
        "day": f"{day.day:02}",
        "run_id": run_id,
    }


def split_template(text: str) -> list[str | tuple[str]]:
    """Split a text at its templates: literals as they stand, and each variable as a tuple of its name.

    Raises ValueError if braces are unbalanced or hold no variable's name.
    """
    parts: list[str | tuple[str]] = []
    end = 0
    for match in _BRACES.finditer(text):
        name = (match[1] or "").strip()
        if not NAME.fullmatch(name):
            raise ValueError(f"malformed template at {shorten(text[match.start() :])}; expected {{{{variable}}}}")
        if match.start() > end:
            parts.append(text[end : match.start()])
        parts.append((name,))
        end = match.end()
    if end < len(text):
        parts.append(text[end:])
    return parts


def walk_texts(value: object, path: FieldPath = ()) -> Iterator[tuple[FieldPath, str]]:
    """Every text within nested dicts and lists, with its path; keys are left out."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from walk_texts(child, (*path, key))
    elif isinstance(value, list | tuple):
        for index, child in enumerate(value):
            yield from walk_texts(child, (*path, index))


class TemplateResolver:
    """Puts the values of variables in the place of templates."""

    def resolve(self, config: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
        """A copy of `config`, every template in its dicts and lists replaced from `context`.

        Raises TemplateInvalidError, naming each unknown variable or malformed template and where it stands, or when
        the config is nested deeper than 20 levels or its texts come to more than 131,072 characters.
        """
        resolution = _Resolution(context)
        resolved: dict[str, Any] = resolution.value(config, ())
        if resolution.problems:
            raise TemplateInvalidError(join_problems(resolution.problems))
        return resolved


class _Resolution:
    """One pass over one config."""

    def __init__(self, context: Mapping[str, Any]) -> None:
        self.problems: list[str] = []
        self._context = context
        self._left = MAX_CHARACTERS

    def value(self, value: Any, path: FieldPath) -> Any:
        if len(path) > MAX_DEPTH:
            raise TemplateInvalidError(f"{dotted(path)}: nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, Mapping):
            return {key: self.value(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(child, (*path, index)) for index, child in enumerate(value)]
        return value

    def _text(self, text: str, path: FieldPath) -> Any:
        try:
            parts = split_template(text)
        except ValueError as error:
            self._refuse(path, str(error))
            return None
        names = [part[0] for part in parts if isinstance(part, tuple)]
        unknown = [name for name in names if name not in self._context]
        for name in unknown:
            known = ", ".join(sorted(self._context))
            self._refuse(path, f"unknown variable {name!r}; known: {known}")
        if unknown:
            return None
        if len(parts) == 1 and names:
            value = copy.deepcopy(self._context[names[0]])
            self._spend(sum(len(text) for _, text in walk_texts(value)), path)
            return value
        written = [self._written(part, path) for part in parts]
        self._spend(sum(map(len, written)), path)  # before the text is built, as it could be very long
        return "".join(written)

    def _written(self, part: str | tuple[str], path: FieldPath) -> str:
        """A part of a longer text, as text: true and false as JSON writes them."""
        if isinstance(part, str):
            return part
        value = self._context[part[0]]
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int | float):
            return str(value)
        self._refuse(path, f"variable {part[0]!r} is no scalar, so it can't stand inside a text")
        return ""

    def _spend(self, characters: int, path: FieldPath) -> None:
        self._left -= characters
        if self._left < 0:
            raise TemplateInvalidError(
                f"{dotted(path)}: the config's texts come to more than {MAX_CHARACTERS} characters"
            )

    def _refuse(self, path: FieldPath, message: str) -> None:
        self.problems.append(f"{dotted(path)}: {message}" if path else message)
