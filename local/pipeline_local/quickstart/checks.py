"""What the machine must have for the quick start, checked before anything long begins."""

import os
import shutil
from pathlib import Path

from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths, private_folder

MEMORY_GIB = 4.0
DISK_GIB = 10.0
"""Free room for a first start: Go's and uv's caches, programs, images, and the node's copy of them."""
_GIB = 2**30


def check_machine(paths: Paths) -> None:
    """Raises LocalError that says what is short. On a machine where it ran before, disk is no longer asked for."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    if (problem := shortage(memory, _free_disk(paths))) is not None:
        raise LocalError(problem)


def shortage(memory: float, disk: float | None) -> str | None:
    """What is short, given the machine's GiB of memory and of free disk (None: not needed); None if nothing is."""
    if memory < MEMORY_GIB * 0.95:  # a machine of 4 GiB shows a little less
        return f"the quick start needs {MEMORY_GIB:.0f} GiB of memory, and this machine has {memory:.1f}"
    if disk is not None and disk < DISK_GIB:
        return f"a first start needs {DISK_GIB:.0f} GiB of free disk, and {disk:.1f} are free: set XDG_CACHE_HOME and XDG_STATE_HOME to where there is more"  # noqa: E501
    return None


def _free_disk(paths: Paths) -> float | None:
    if (paths.cache / "programs").exists():
        return None
    return min(_free(private_folder(paths.cache)), _free(private_folder(paths.state)))


def _free(folder: Path) -> float:
    return shutil.disk_usage(folder).free / _GIB
