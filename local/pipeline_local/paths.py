"""Where a local installation keeps its files: one cache folder, one state folder, both outside the repository."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The folders of one local installation."""

    cache: Path
    """What can be made again: programs, images. Kept by `down`."""
    state: Path
    """What belongs to this cluster: certificates, sockets, logs, data, ports."""

    @classmethod
    def from_environment(cls) -> "Paths":
        """XDG_CACHE_HOME/pipelines and XDG_STATE_HOME/pipelines/local, with the defaults of the XDG base directory
        specification, which also says to ignore values that are not absolute.
        """
        return cls(
            cache=_base("XDG_CACHE_HOME", ".cache") / "pipelines",
            state=_base("XDG_STATE_HOME", ".local/state") / "pipelines" / "local",
        )

    @property
    def bin(self) -> Path:
        """kubectl, helm and pipelines, for people: `pipelines local env` puts it first in PATH."""
        return self.state / "bin"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def logs(self) -> Path:
        return self.state / "logs"


def _base(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else Path.home() / default


def private_folder(path: Path) -> Path:
    """Make a folder that its owner alone can enter; the path, for chaining."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def write_atomically(path: Path, content: bytes | str, mode: int = 0o600) -> None:
    """Replace a file as a whole: a reader, or a start after a crash, sees the old content or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # crash here: the old file stands, and the next writer of this name replaces the temporary one
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
