"""What goes into each image, the tag that follows from it, and the build context made of it.

A tag is a hash of everything that decides an image's content, so changed code is a changed tag and so a changed pod,
and an image whose tag is in the cache needs no look inside.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from uv import find_uv_bin

from pipeline_local.errors import LocalError

PYTHON = "3.11"
"""Of the base image, in `images/base/make-rootfs` and as BASE of the Containerfiles; the wheels are chosen for it."""
_GLIBC = "manylinux_2_36"  # what Debian 12 has
_TAG_LENGTH = 16


@dataclass(frozen=True)
class Definition:
    """One image: `images/{name}/Containerfile`, the packages of `locks/{name}.txt`, and parts of the project."""

    name: str
    sources: tuple[str, ...]
    """Files and folders of the checkout, as `{source root}/{path in the image}`."""

    @property
    def repository(self) -> str:
        return f"localhost/pipelines-{self.name}"

    def containerfile(self, root: Path) -> Path:
        return root / "images" / self.name / "Containerfile"

    def lock(self, root: Path) -> Path:
        return root / "locks" / f"{self.name}.txt"


# No more of the project than an image runs: another part may then change without a new image.
DEFINITIONS = (
    Definition("operator", ("core/pipeline_core", "operator/pipeline_operator", "bridge/pipeline_bridge")),
    Definition("runner", ("core/pipeline_core", "runner/pipeline_runner")),
    Definition(
        "dev-services",
        (
            "local/pipeline_local/__init__.py",
            "local/pipeline_local/errors.py",
            "local/pipeline_local/paths.py",
            "local/pipeline_local/services",
            "local/pipeline_local/simulators",
        ),
    ),
)


def checkout() -> Path:
    """The folder of the project's sources.

    Raises LocalError where this package was installed without them.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "images").is_dir() or not (root / "locks").is_dir():
        raise LocalError(f"images are built from a checkout of the project, and {root} isn't one")
    return root


def base_tag(root: Path) -> str:
    """The tag of the base image that is made here: it changes with the way it is made, not with Debian's updates."""
    return _digest(root, [root / "images" / "base"], os.uname().machine)


def tag(definition: Definition, root: Path, base: str) -> str:
    """The tag of an image on this base.

    Raises LocalError where one of its sources is missing.
    """
    content = [definition.containerfile(root), ignore_file(root), definition.lock(root)]
    sources = [root / source for source in definition.sources]
    return _digest(root, [*content, *sources], os.uname().machine, PYTHON, base)


def stage(definition: Definition, root: Path, context: Path) -> None:
    """Make the build context of an image in the folder `context`: the dependencies, unpacked, and the project's parts.

    Downloads the wheels of the lock that aren't in uv's cache, and checks their hashes.
    Raises LocalError, with the installer's words, when that fails.
    """
    context.mkdir(parents=True)
    shutil.copyfile(ignore_file(root), context / ".dockerignore")
    for source in definition.sources:
        origin, target = root / source, context / "project" / Path(*Path(source).parts[1:])
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(origin, target)
    command = install_command(definition.lock(root), context / "dependencies", os.uname().machine)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalError(f"the packages of {definition.lock(root)} can't be had:\n{done.stderr.strip()[-4000:]}")


def install_command(lock: Path, target: Path, machine: str) -> list[str]:
    """Unpack exactly the locked wheels into a folder, for the image's Python and platform, whatever runs here."""
    return [
        *(find_uv_bin(), "pip", "install", "--quiet", "--python", sys.executable, "--target", str(target)),
        *("--python-version", PYTHON, "--python-platform", f"{machine}-{_GLIBC}"),
        *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", str(lock)),
    ]


def ignore_file(root: Path) -> Path:
    return root / "images" / "dockerignore"


def _digest(root: Path, content: Iterable[Path], *facts: str) -> str:
    digest = hashlib.sha256(repr(facts).encode())
    for file in sorted(_files(content)):
        data = file.read_bytes()
        digest.update(f"{file.relative_to(root)}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:_TAG_LENGTH]


def _files(content: Iterable[Path]) -> Iterator[Path]:
    for entry in content:
        if entry.is_file():
            yield entry
        elif entry.is_dir():
            yield from (file for file in entry.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        else:
            raise LocalError(f"an image needs {entry}, which is missing")
