"""Runs a PostgreSQL server from the binaries of a wheel: durable, on TCP alone, with one role that has a password."""

import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

from pipeline_local.services.postgres_cluster import DATABASE, USER, is_ready, prepare, usable_binaries
from pipeline_local.services.processes import (
    LOOPBACK,
    Identity,
    end,
    free_port,
    server_identity,
    wait_until_ready,
)

NAME = "PostgreSQL"
STOP_SIGNAL = signal.SIGINT  # PostgreSQL's fast shutdown: ends sessions, writes a checkpoint, leaves nothing to recover
_READY_SECONDS = 60.0
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """A running server, and how to reach it."""

    host: str
    port: int
    password: str = field(repr=False)
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        """The address of the database, as PIPELINES_DATABASE_URL has it; the role may make further databases."""
        return f"postgresql://{USER}:{quote(self.password, safe='')}@{self.host}:{self.port}/{DATABASE}"


@contextmanager
def start_postgres(
    data: Path | None = None,
    *,
    password: str | None = None,
    host: str = LOOPBACK,
    port: int | None = None,
    durable: bool = True,
) -> Iterator[Postgres]:
    """A server that accepts connections, stopped in its own way at the end.

    `data` is kept and used again; without one the data goes with the server. Root is dropped to an unprivileged user,
    who must be able to reach `data`. `durable=False` forgoes the safety of data for speed, for tests.
    Raises LocalError, with the end of the server's log, when it doesn't start.
    """
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pipelines-postgres-")))
        work.chmod(0o755)
        identity = server_identity()
        binaries = usable_binaries(identity, work)
        chosen, secret = port or free_port(host), password or secrets.token_urlsafe(24)
        cluster = prepare(data or work, secret, binaries=binaries, identity=identity)
        log = work / "log"
        settings = {} if durable else _NOT_DURABLE
        with log.open("wb") as output:
            command = server_command(binaries, cluster, host, chosen, settings)
            process = launch(command, identity, output)
        stack.callback(end, process, STOP_SIGNAL)
        wait_until_ready(NAME, process, lambda: is_ready(cluster, process.pid), seconds=_READY_SECONDS, log=log)
        yield Postgres(host, chosen, secret, process)


def server_command(
    binaries: Path, cluster: Path, host: str, port: int, settings: Mapping[str, str] | None = None
) -> list[str]:
    """The command of the server: TCP alone, no Unix socket, since its folder would have to be shared."""
    values = {
        "listen_addresses": host,
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "250",
        "log_min_error_statement": "panic",  # values of failing statements stay out of the log
        **(settings or {}),
    }
    options = [part for name, value in values.items() for part in ("-c", f"{name}={value}")]
    return [str(binaries / "postgres"), "-D", str(cluster), *options]


def launch(command: list[str], identity: Identity, output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start the server; its log goes to `output`, else where ours goes."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        user=identity.uid,
        group=identity.gid,
        extra_groups=identity.groups,
    )
