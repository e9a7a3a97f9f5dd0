"""Installs the Debian packages that the embedded node and the building of images need."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline_local.errors import LocalError
from pipeline_local.progress import Reporter


@dataclass(frozen=True)
class Package:
    """A Debian package and a file that shows it is there, however it was installed."""

    name: str
    evidence: str
    """A program on PATH, or an absolute path."""

    def is_present(self) -> bool:
        if self.evidence.startswith("/"):
            return Path(self.evidence).exists()
        return shutil.which(self.evidence, path=search_path()) is not None


NODE = (
    Package("runc", "runc"),
    Package("containernetworking-plugins", "/usr/lib/cni/ptp"),
    Package("catatonit", "/usr/bin/catatonit"),
)
IMAGES = (
    Package("buildah", "buildah"),
    Package("debootstrap", "debootstrap"),
    Package("catatonit", "/usr/bin/catatonit"),
)


def search_path() -> str:
    """PATH with the folders of system programs, which the PATH of a plain user or of `su` lacks."""
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def ensure(packages: Iterable[Package], reporter: Reporter) -> None:
    """Install those of the packages that are missing.

    Raises LocalError naming them, and the command, where this process can't.
    """
    missing = [package.name for package in packages if not package.is_present()]
    if not missing:
        return
    has_apt = shutil.which("apt-get", path=search_path()) is not None
    if (refusal := obstacle(missing, os.geteuid(), has_apt)) is not None:
        raise LocalError(refusal)
    with reporter.step(f"Installing {', '.join(missing)}"):
        _install(missing)


def obstacle(missing: Sequence[str], user: int, has_apt: bool) -> str | None:
    """What a person has to do where the packages can't be installed from here; None where they can."""
    names = " ".join(missing)
    if not has_apt:
        return f"missing on this machine: {names}. Install them with your system's package manager (Debian's names)."
    if user != 0:
        return f"missing Debian packages; as root, run: apt-get install --no-install-recommends {names}"
    return None


def _install(names: Sequence[str]) -> None:
    """Try with the package lists at hand first: an update takes longer than the installation."""
    # a second apt on the machine is waited for, not an error
    apt = ["apt-get", "--quiet", "--assume-yes", "-o", "DPkg::Lock::Timeout=300"]
    install = [*apt, "install", "--no-install-recommends", *names]
    if _run(install) is None:
        return
    error = _run([*apt, "update"]) or _run(install)
    if error is not None:
        raise LocalError(f"could not install {' '.join(names)}:\n{error}")


def _run(command: Sequence[str]) -> str | None:
    """None when the command succeeded, else the end of what it said."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", "PATH": search_path()}
    result = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return None if result.returncode == 0 else result.stdout[-2000:]
