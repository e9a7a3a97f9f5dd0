"""Finds and reads a catalog's files as one consistent set, and tells cheaply whether they changed.

A ConfigMap's volume is a folder of links into `..data`, itself a link that the kubelet swaps; so links are followed and
hidden names are left out.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline_core.catalog.problems import CatalogInvalidError, Problem
from pipeline_core.catalog.yaml_document import MAX_BYTES

PROVIDERS_FILE = "system/providers.yml"

MAX_FILES = 2_000
_MAX_DEPTH = 3
_ATTEMPTS = 3

# Of each file: its path, device, inode, size, and when it was modified and changed (ns).
Fingerprint = tuple[tuple[str, int, int, int, int, int], ...]


@dataclass(frozen=True)
class CatalogFiles:
    """The bytes of each YAML file by its path relative to the catalog, and the fingerprint they were read under."""

    contents: Mapping[str, bytes]
    fingerprint: Fingerprint


def fingerprint(directory: Path) -> Fingerprint:
    """What `stat` says of each file; it changes whenever one is edited, added, removed, renamed or swapped.

    Raises CatalogInvalidError if the directory can't be read, or has folders too deep or too full.
    """
    try:
        return tuple(sorted(_scan(directory, "", 1)))
    except OSError as error:
        raise _unreadable(directory, error) from None


def read_files(directory: Path) -> CatalogFiles:
    """Read all files as they stood at one moment. Raises CatalogInvalidError if they can't be read."""
    for _ in range(_ATTEMPTS):
        before = fingerprint(directory)
        try:
            contents = {path: _read(directory / path) for path, *_ in before}
        except FileNotFoundError:
            continue  # the kubelet swapped the volume's link meanwhile
        except OSError as error:
            raise _unreadable(directory, error) from None
        if fingerprint(directory) == before:
            return CatalogFiles(contents, before)
    raise CatalogInvalidError([Problem(str(directory), 1, "", "the files changed all the while they were being read")])


def _scan(folder: Path, prefix: str, depth: int) -> Iterator[tuple[str, int, int, int, int, int]]:
    with os.scandir(folder) as entries:
        for count, entry in enumerate(entries):
            path = prefix + entry.name
            if count >= MAX_FILES:
                raise CatalogInvalidError(
                    [Problem(prefix or str(folder), 1, "", f"more than {MAX_FILES} files in a folder")]
                )
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                # A link to a folder above would go round for ever.
                if depth == _MAX_DEPTH:
                    message = "folders go no deeper than {provider}/{domain}"
                    raise CatalogInvalidError([Problem(path, 1, "", message)])
                yield from _scan(folder / entry.name, path + "/", depth + 1)
            elif entry.name.endswith((".yml", ".yaml")):
                status = entry.stat()
                if not stat.S_ISREG(status.st_mode):
                    raise CatalogInvalidError([Problem(path, 1, "", "not a regular file")])
                yield path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)  # the one byte more tells the parser that the file is too large


def _unreadable(directory: Path, error: OSError) -> CatalogInvalidError:
    return CatalogInvalidError([Problem(str(directory), 1, "", f"can't be read: {error.strerror}: {error.filename}")])
