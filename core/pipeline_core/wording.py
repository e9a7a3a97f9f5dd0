"""How errors speak of values and places: short, quoted, and the same everywhere."""

from collections.abc import Sequence

from pipeline_core.redaction import without_credentials

FieldPath = tuple[str | int, ...]

_VALUE_SHOWN = 60
# Looked through for credentials: more than is shown, as a key that is cut may be too short to be known for one.
_VALUE_READ = 4_000
_PROBLEMS_SHOWN = 5
# Python refuses to print an integer of more than 4,300 digits.
_INTEGER_BITS_SHOWN = 256


def dotted(path: FieldPath) -> str:
    """The way people write a path: `("a", "b", 0, "c")` is `a.b[0].c`."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def shorten(value: object) -> str:
    """A value as Python writes it, without credentials, and cut so that an error never carries a long one whole."""
    if isinstance(value, str):
        shown = without_credentials(value[:_VALUE_READ])[:_VALUE_SHOWN]
        return f"{shown!r}… ({len(value)} characters)" if len(value) > _VALUE_SHOWN else repr(shown)
    if isinstance(value, int) and value.bit_length() > _INTEGER_BITS_SHOWN:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict | list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= _VALUE_SHOWN else f"{text[:_VALUE_SHOWN]}…"


def join_problems(problems: Sequence[object]) -> str:
    """The first problems as one line, and how many more there are: it has to stay readable in a status message."""
    shown = "; ".join(str(problem) for problem in problems[:_PROBLEMS_SHOWN])
    rest = len(problems) - _PROBLEMS_SHOWN
    return f"{shown}; and {rest} more" if rest > 0 else shown
