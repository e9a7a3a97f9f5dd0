"""What both services need of the operating system: free ports, waiting for readiness, ending a process, rights."""

import os
import pwd
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline_local.errors import LocalError

LOOPBACK = "127.0.0.1"
UNPRIVILEGED = "nobody"
_POLL_SECONDS = 0.05
_LOG_TAIL = 2000


@dataclass(frozen=True)
class Identity:
    """The user and groups that a server is given; None: those that we have."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None


def server_identity() -> Identity:
    """Who PostgreSQL runs as: ourselves, or an unprivileged user where we are root, as it refuses to run as root.

    Raises LocalError where root finds no such user.
    """
    if os.geteuid() != 0:
        return Identity()
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise LocalError(f"PostgreSQL doesn't run as root, and there is no user {UNPRIVILEGED!r} to be") from None
    return Identity(entry.pw_uid, entry.pw_gid, ())


def reachable_by_others(path: Path) -> bool:
    """Whether an unrelated user can come to this folder: each folder on the way lets others pass."""
    resolved = path.resolve()
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in (resolved, *resolved.parents))


def free_port(host: str = LOOPBACK) -> int:
    """A TCP port of this address that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
        return port


def require_free(name: str, host: str, *ports: int) -> None:
    """Raises LocalError naming the first of the ports that another program listens on."""
    for port in ports:
        with socket.socket() as listener:
            # as servers do: a port whose last connections are only waiting out their time is free
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((host, port))
            except OSError as error:
                raise LocalError(f"{name} can't listen on {host}:{port}: {error.strerror}") from error


def reached_at(host: str) -> str:
    """Where this machine reaches a server that listens on this address."""
    return LOOPBACK if host == "0.0.0.0" else host  # noqa: S104 - compared, not bound


def wait_until_ready(
    name: str, process: subprocess.Popen[bytes], ready: Callable[[], bool], *, seconds: float, log: Path
) -> None:
    """Return when `ready` says so.

    Raises LocalError, with the end of the server's log, when its process ends or the time is over.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if process.poll() is not None:
            raise LocalError(f"{name} ended with status {process.returncode} as it started:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise LocalError(f"{name} wasn't ready within {seconds:g} s:\n{tail(log)}")
        time.sleep(_POLL_SECONDS)


def tail(log: Path) -> str:
    """The end of a log, for an error message."""
    try:
        return log.read_text(errors="replace")[-_LOG_TAIL:].strip()
    except FileNotFoundError:
        return "(it wrote no log)"


def end(process: subprocess.Popen[bytes], how: signal.Signals, *, seconds: float = 30) -> int:
    """Ask a process to end in its own way, and kill it if it hasn't in time. Returns its exit status."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
