"""Starts, recognises and ends the cluster's processes, so that a stranger's process is never taken for one of them."""

import atexit
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MARKER = "PIPELINES_LOCAL_CLUSTER"
"""Set in the environment of all that a cluster starts to its state folder: what finds a process whose start was not
recorded, because `up` died between starting it and writing that down."""

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Those that this very command started, which it has to wait for once they end."""


@dataclass(frozen=True)
class Identity:
    """A process, not just its number: Linux gives a number again, but never with the same start time in one boot."""

    pid: int
    started: int
    """Clock ticks from boot to the process's start (field 22 of proc_pid_stat(5))."""
    boot: str
    """The kernel's id of this boot."""


def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """The identity of a running process; None if there is none, or only its zombie."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # the second field, the program's name in parentheses, may itself hold spaces and parentheses
    fields = stat[stat.rindex(")") + 2 :].split()
    # A process whose first thread has ended is a zombie too, and keeps its ports until its last one has (field 20).
    if fields[0] == "X" or (fields[0] == "Z" and int(fields[17]) <= 1):
        return None
    return Identity(pid=pid, started=int(fields[19]), boot=boot_id())


def is_running(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def start(argv: Sequence[str], environment: Mapping[str, str], log: Path, marker: Path) -> Identity:
    """Start a server in a session of its own, so that it outlives this command and the terminal. Its output is
    appended to the log.

    Raises OSError if the program can't be started, RuntimeError if it ended at once.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            env={**environment, MARKER: str(marker)},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[process.pid] = process
    identity = identify(process.pid)
    if identity is None:
        _reap(process.pid)
        raise RuntimeError(f"{argv[0]} ended at once, see {log}")
    return identity


@atexit.register
def _let_go() -> None:
    """The servers outlive this process on purpose; without a word to it, subprocess would warn of each at the end."""
    for process in _children.values():
        process.returncode = process.returncode or 0


def end(identities: Iterable[Identity], grace: float) -> None:
    """Ask processes to end, all at once, and kill those left after `grace` seconds. Returns when all are gone."""
    opened: dict[int, Identity] = {}
    try:
        for identity in identities:
            if (handle := _open(identity)) is not None:
                opened[handle] = identity
                _signal(handle, signal.SIGTERM)
        left = _wait(opened, grace)
        for handle in left:
            _signal(handle, signal.SIGKILL)
        _wait(left, 10)
    finally:
        for handle in opened:
            os.close(handle)


def send(identity: Identity, number: signal.Signals) -> bool:
    """Signal exactly this process; False if it has ended."""
    handle = _open(identity)
    if handle is None:
        return False
    try:
        _signal(handle, number)
    finally:
        os.close(handle)
    return True


def children(parent: Identity) -> list[Identity]:
    """The processes that this one is the parent of; those that end meanwhile may be missing."""
    found: list[Identity] = []
    with suppress(OSError):
        for task in (PROC / str(parent.pid) / "task").iterdir():
            pids = (task / "children").read_text().split()
            found += [identity for pid in pids if (identity := identify(int(pid))) is not None]
    return found


def program(identity: Identity) -> list[str]:
    """A process's program and arguments; empty once it has ended."""
    try:
        words = (PROC / str(identity.pid) / "cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return []
    return [word.decode(errors="replace") for word in words]


def marked(marker: Path) -> Iterator[tuple[Identity, str]]:
    """The running processes that a cluster started, each with the name of its program."""
    wanted = f"{MARKER}={marker}".encode()
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it ended meanwhile, or belongs to another user
            if wanted not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            program = (entry / "cmdline").read_bytes().split(b"\0", 1)[0].decode(errors="replace")
            if (identity := identify(int(entry.name))) is not None and identity.pid != os.getpid():
                yield identity, Path(program).name


def _open(identity: Identity) -> int | None:
    """A handle of exactly this process: what is signalled through it can't be its successor in the number."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return None
    if is_running(identity):
        return handle
    os.close(handle)
    _reap(identity.pid)
    return None


def _signal(handle: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _wait(opened: Mapping[int, Identity], seconds: float) -> dict[int, Identity]:
    """Those still running when the time is over."""
    left = dict(opened)
    poll = select.poll()
    for handle in left:
        poll.register(handle, select.POLLIN)
    deadline = time.monotonic() + seconds
    while left and (remaining := deadline - time.monotonic()) > 0:
        for handle, _ in poll.poll(remaining * 1000):
            poll.unregister(handle)
            _reap(left.pop(handle).pid)
    return left


def _reap(pid: int) -> None:
    if (child := _children.get(pid)) is not None and child.poll() is not None:
        del _children[pid]
