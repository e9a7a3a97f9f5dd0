"""Makes text that came from outside storable: a message nobody can store would keep its run from ever ending."""

from typing import overload

MAX_TEXT = 8192
_CUT = " … (cut)"


@overload
def clean_text(text: str) -> str: ...
@overload
def clean_text(text: None) -> None: ...
def clean_text(text: str | None) -> str | None:
    """The text in at most 8,192 characters, without what PostgreSQL refuses: NUL and lone surrogates."""
    if text is None:
        return None
    storable = _storable(text)
    return storable if len(storable) <= MAX_TEXT else storable[: MAX_TEXT - len(_CUT)] + _CUT


def clean_value(value: object) -> object:
    """A JSON value with each string made storable, at any depth; strings keep their length."""
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, dict):
        return {_storable(str(key)): clean_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [clean_value(each) for each in value]
    return value


def _storable(text: str) -> str:
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode()
