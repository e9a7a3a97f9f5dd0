"""Puts files of manifests into a folder: each as a whole, and none over what somebody else has written there."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

_NAMED = 3


class Done(NamedTuple):
    """How many files were made, replaced, and left as they were."""

    new: int
    replaced: int
    unchanged: int


def put_files(folder: Path, texts: Mapping[str, str], *, force: bool) -> Done:
    """Write the texts by their file names.

    Raises ValueError, before anything is written, where a file is there that differs (unless `force`), and OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = {name: _read(folder / name) for name in texts}
    new = [name for name, found in before.items() if found is None]
    differing = [name for name, found in before.items() if found is not None and found != texts[name].encode()]
    if differing and not force:
        named = ", ".join(str(folder / name) for name in differing[:_NAMED])
        more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        raise ValueError(
            f"{named}{more}: expected no file, or one as it would be written; nothing was written, --force replaces it"
        )
    for name in (*new, *differing):
        _put(folder / name, texts[name])
    return Done(len(new), len(differing), len(texts) - len(new) - len(differing))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _put(path: Path, text: str) -> None:
    target = path.resolve()  # what a link names is replaced, not the link
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(text.encode())
        # crash here: the file is as it was, beside one that no tool reads
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)
