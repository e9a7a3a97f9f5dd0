"""Keeps the components running: starts what is missing, replaces what is outdated, and knows what each one is doing."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline_local import processes
from pipeline_local.components import Component
from pipeline_local.errors import LocalError
from pipeline_local.paths import private_folder, write_atomically
from pipeline_local.processes import Identity

READY_WITHIN = 90.0
"""Seconds. Takes 3 on an idle machine with 2 cores."""
PATIENCE = 15.0
"""Seconds in which a component that runs as it should has to answer: a busy machine is no reason to restart it."""
END_WITHIN = 10.0


@dataclass(frozen=True)
class Record:
    """A component as it was started."""

    identity: Identity
    digest: str
    """Of its arguments, files and certificates: another one means that it has to be started anew."""


@dataclass(frozen=True)
class Status:
    """What a component is doing now."""

    name: str
    address: str
    pid: int | None
    problem: str | None

    @property
    def is_well(self) -> bool:
        return self.problem is None


class Supervisor:
    """The components of one cluster, recorded in its state folder."""

    def __init__(self, state: Path, environment: Mapping[str, str], salt: str) -> None:
        self._state = state
        self._records = state / "processes"
        self._logs = state / "logs"
        self._environment = dict(environment)
        self._salt = salt

    def is_current(self, component: Component) -> bool:
        """Whether it runs, as it would be started now."""
        record = self._record(component.name)
        return record is not None and processes.is_running(record.identity) and record.digest == self._digest(component)

    def identity(self, name: str) -> Identity | None:
        """The component's process; None if it doesn't run."""
        record = self._record(name)
        return record.identity if record is not None and processes.is_running(record.identity) else None

    def bring_up(self, components: Sequence[Component]) -> None:
        """Start those that do not run or do not work, each once what it needs works; return when all of them do.

        Raises LocalError naming the first that does not come up, with the end of its log.
        """
        self._end_strays(components)
        pending = {component.name: component for component in components}
        started: set[str] = set()
        begun = time.monotonic()
        while pending:
            waited = time.monotonic() - begun
            for component in [one for one in pending.values() if not pending.keys() & set(one.needs)]:
                status = self._status(component)
                if status.is_well and self.is_current(component):
                    del pending[component.name]
                elif component.name in started:
                    self._raise_if_hopeless(status, waited)
                elif waited > PATIENCE or not self.is_current(component):
                    self._start(component)
                    started.add(component.name)
            if pending:
                time.sleep(0.05)

    def statuses(self, components: Sequence[Component]) -> list[Status]:
        with ThreadPoolExecutor(len(components)) as pool:
            return list(pool.map(self._status, components))

    def end(self, names: Iterable[str], grace: float = END_WITHIN) -> None:
        """End components by name, recorded or not, and forget them."""
        wanted = set(names)
        found = {identity for identity, program in processes.marked(self._state) if program in wanted}
        recorded = (self._record(name) for name in wanted)
        found |= {record.identity for record in recorded if record is not None}
        processes.end(found, grace)
        for name in wanted:
            (self._records / f"{name}.json").unlink(missing_ok=True)

    def _end_strays(self, components: Sequence[Component]) -> None:
        """End those that were started by an `up` that died before recording it: their ports would be taken."""
        names = {component.name for component in components}
        recorded = {record.identity for name in names if (record := self._record(name)) is not None}
        strays = [
            identity
            for identity, program in processes.marked(self._state)
            if program in names and identity not in recorded
        ]
        processes.end(strays, END_WITHIN)

    def _start(self, component: Component) -> None:
        self.end([component.name])
        for path, content in component.files.items():
            private_folder(path.parent)
            write_atomically(path, content)
        log = private_folder(self._logs) / f"{component.name}.log"
        try:
            identity = processes.start(component.argv, self._environment, log, marker=self._state)
        except (OSError, RuntimeError) as error:
            raise LocalError(f"{component.name} could not be started: {error}") from error
        # crash here: it runs unrecorded, and the next `up` or `down` finds it by its marker
        record = json.dumps({"identity": asdict(identity), "digest": self._digest(component)})
        write_atomically(private_folder(self._records) / f"{component.name}.json", record)

    def _status(self, component: Component) -> Status:
        record = self._record(component.name)
        if record is None or not processes.is_running(record.identity):
            return Status(component.name, component.address, None, "not running" if record is None else "ended")
        return Status(component.name, component.address, record.identity.pid, component.probe())

    def _raise_if_hopeless(self, status: Status, waited: float) -> None:
        if status.pid is None or waited > READY_WITHIN:
            log = self._logs / f"{status.name}.log"
            raise LocalError(f"{status.name} does not come up: {status.problem}\n{tail(log)}(from {log})")

    def _digest(self, component: Component) -> str:
        files = {str(path): content for path, content in component.files.items()}
        content = json.dumps([component.argv, files, self._environment, self._salt], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def _record(self, name: str) -> Record | None:
        try:
            document = json.loads((self._records / f"{name}.json").read_text())
            return Record(identity=Identity(**document["identity"]), digest=document["digest"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log; empty where there is none."""
    try:
        content = path.read_bytes()[-20_000:].decode(errors="replace").splitlines(keepends=True)
    except FileNotFoundError:
        return ""
    return "".join(content[-lines:])
