"""What a local installation remembers between commands: its backend, its ports, and the variables for a shell."""

import fcntl
import json
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths, private_folder, write_atomically

# Below the range from which Linux takes source ports of outgoing connections (32768 and up, by default), so that a
# remembered port isn't taken by a passing connection while nothing listens on it.
PORT_RANGE = range(20000, 30000)


class BackendChoice(BaseModel):
    """Which cluster `up` chose; `down`, `status`, `env` and the loading of images follow it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    context: str | None = None
    image_repository: str | None = None


class Document(BaseModel):
    """The content of state.json."""

    model_config = ConfigDict(extra="forbid")

    backend: BackendChoice | None = None
    ports: dict[str, int] = Field(default_factory=dict)
    exports: dict[str, str] = Field(default_factory=dict)


class State:
    """The remembered facts in `<state>/state.json`. Safe for several threads and processes at once."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Paths.from_environment().state
        self._file = self.folder / "state.json"

    def port(self, name: str) -> int:
        """The loopback port of a listener: a free one the first time, the same one ever after."""
        known = self._read().ports.get(name)
        if known is not None:
            return known
        with self._changing() as document:
            if name not in document.ports:
                document.ports[name] = _free_port(set(document.ports.values()))
            return document.ports[name]

    def replace_port(self, name: str) -> int:
        """Another port for a listener whose remembered one was taken by a stranger."""
        with self._changing() as document:
            document.ports[name] = _free_port(set(document.ports.values()))
            return document.ports[name]

    @property
    def ports(self) -> dict[str, int]:
        return dict(self._read().ports)

    @property
    def exports(self) -> dict[str, str]:
        """Variables that `pipelines local env` prints beside its own."""
        return dict(self._read().exports)

    def set_exports(self, **values: str | None) -> None:
        """Remember variables for `pipelines local env`; None forgets one."""
        with self._changing() as document:
            for name, value in values.items():
                if value is None:
                    document.exports.pop(name, None)
                else:
                    document.exports[name] = value

    @property
    def backend(self) -> BackendChoice | None:
        return self._read().backend

    def set_backend(self, choice: BackendChoice | None) -> None:
        with self._changing() as document:
            document.backend = choice

    def recover(self) -> BackendChoice | None:
        """The backend in use, also where the file can't be read: then it is dropped, and whatever runs is taken to be
        the embedded cluster, the only one whose processes end with it.
        """
        try:
            return self.backend
        except LocalError:
            self._file.unlink()
            return BackendChoice(name="embedded")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the installation while `up` or `down` works on it: a second one waits for the first."""
        with _locked(private_folder(self.folder) / "cluster.lock"):
            yield

    @contextmanager
    def _changing(self) -> Iterator[Document]:
        with _locked(private_folder(self.folder) / "state.lock"):
            document = self._read()
            yield document
            write_atomically(self._file, document.model_dump_json(indent=2) + "\n")

    def _read(self) -> Document:
        try:
            text = self._file.read_text()
        except FileNotFoundError:
            return Document()
        try:
            return Document.model_validate(json.loads(text))
        except (json.JSONDecodeError, ValidationError) as error:
            raise LocalError(
                f"{self._file} is not a state file of this version ({_what(error)}): "
                "run `pipelines local down --purge` and then `pipelines local up`"
            ) from error


def _what(error: json.JSONDecodeError | ValidationError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return str(error)
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'the document'}: {one['msg']}, not {one['input']!r}"
        for one in error.errors()
    )


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as listener:
        # as servers do: a port whose last connections are only waiting out their time is free
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port(taken: set[int]) -> int:
    candidates = [port for port in PORT_RANGE if port not in taken]
    random.shuffle(candidates)  # two installations on one machine then rarely want the same port
    for port in candidates:
        if is_free(port):
            return port
    raise LocalError(f"no free port on 127.0.0.1 between {PORT_RANGE.start} and {PORT_RANGE.stop - 1}")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released by the system when the holder dies
        yield
