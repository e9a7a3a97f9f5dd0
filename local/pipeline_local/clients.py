"""kubectl and Helm for clusters that bring none of their own, and calling them."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pipeline_local import builds
from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths, private_folder
from pipeline_local.progress import Reporter


def ensure(paths: Paths, reporter: Reporter) -> None:
    """Put kubectl and Helm into the bin folder: the machine's own where it has them, else built."""
    for name, target in (("kubectl", builds.KUBECTL), ("helm", builds.HELM)):
        found = shutil.which(name)
        if found is None or Path(found).parent == paths.bin:
            found = str(builds.ensure(target, paths, reporter) / name)
        link(paths, name, Path(found))


def link(paths: Paths, name: str, program: Path) -> None:
    """Make a program known by name in the bin folder."""
    place = private_folder(paths.bin) / name
    temporary = place.with_name(f".{name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(program)
    temporary.replace(place)


def link_ourselves(paths: Paths, interpreter: Path) -> None:
    """Make `pipelines` known in the bin folder: the program beside this interpreter. Nothing where there is none."""
    program = interpreter.parent / "pipelines"
    if program.exists():
        link(paths, program.name, program)


def run(command: Sequence[str | Path], purpose: str) -> str:
    """A command's output.

    Raises LocalError, with what the command said, where it fails or is not there.
    """
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise LocalError(f"{purpose} needs the program {command[0]}, which is not on PATH") from error
    if result.returncode != 0:
        raise LocalError(f"{purpose} failed ({' '.join(map(str, command[:3]))} …): {result.stderr.strip()[-2000:]}")
    return result.stdout
