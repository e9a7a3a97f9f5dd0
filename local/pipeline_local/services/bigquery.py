"""Runs the stand-in for BigQuery: its REST and gRPC surface, in memory or on a folder."""

import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths
from pipeline_local.services.processes import LOOPBACK, end, free_port, reached_at, require_free, wait_until_ready

NAME = "the BigQuery stand-in"
PROJECT = "local-dev"
STOP_SIGNAL = signal.SIGTERM
_READY_SECONDS = 60.0
# DuckDB looks for its extensions in this folder of HOME. The spatial one comes from a wheel; the stand-in's wish for
# another, for Avro, would make it ask the network.
_INSTALL_EXTENSION = "from duckdb_extensions import import_extension; import_extension('spatial')"


@dataclass(frozen=True)
class BigQuery:
    """A running stand-in, and how to reach it."""

    host: str
    port: int
    grpc_port: int
    project: str
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point this project's parts, and Google's client, to it."""
        return {
            "BIGQUERY_EMULATOR_HOST": f"http://{self.host}:{self.port}",
            "PIPELINES_BIGQUERY_PROJECT": self.project,
            "PIPELINES_BIGQUERY_STORAGE_ENDPOINT": f"http://{self.host}:{self.grpc_port}",
            "PIPELINES_BIGQUERY_CREDENTIALS": "anonymous",
        }


@contextmanager
def start_bigquery(
    data: Path | None = None,
    *,
    project: str = PROJECT,
    host: str = LOOPBACK,
    port: int | None = None,
    grpc_port: int | None = None,
) -> Iterator[BigQuery]:
    """A stand-in that is ready, stopped at the end; with `data` its tables are kept there, else in memory.

    Raises LocalError, with the end of its log, when it doesn't start.
    """
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pipelines-bigquery-")))
        home = Paths.from_environment().cache / "duckdb"
        install_extension(home)
        rest, grpc = port or free_port(host), grpc_port or free_port(host)
        require_free(NAME, host, rest, grpc)  # else whoever listens there would be asked whether it is ready
        log = work / "log"
        with log.open("wb") as output:
            command = server_command(data, project, host, rest, grpc)
            process = launch(command, work=work, home=home, output=output)
        stack.callback(end, process, STOP_SIGNAL)
        wait_until_ready(NAME, process, lambda: is_ready(host, rest), seconds=_READY_SECONDS, log=log)
        yield BigQuery(host, rest, grpc, project, process)


def install_extension(home: Path) -> None:
    """Put DuckDB's spatial extension, without which the stand-in doesn't start, below this HOME; once is enough.

    Raises LocalError when the packages that carry it are missing or don't fit DuckDB's version.
    """
    version = importlib.metadata.version("duckdb")
    if any(home.glob(f".duckdb/extensions/v{version}/*/spatial.duckdb_extension")):
        return
    home.mkdir(parents=True, exist_ok=True)
    # in a process of its own: DuckDB reads HOME once, and only that process needs to load it
    done = subprocess.run(
        [sys.executable, "-c", _INSTALL_EXTENSION],
        check=False,
        capture_output=True,
        env={**os.environ, "HOME": str(home)},
    )
    if done.returncode != 0:
        raise LocalError(f"DuckDB's spatial extension can't be installed:\n{done.stderr.decode(errors='replace')}")


def server_command(data: Path | None, project: str, host: str, port: int, grpc_port: int) -> list[str]:
    """The command of the stand-in: on a folder, which is made, or in memory."""
    storage = ["--ephemeral"]
    if data is not None:
        folder = data / "bigquery"
        folder.mkdir(parents=True, exist_ok=True)
        storage = ["--persistent", "--data-dir", str(folder)]
    addresses = ["--rest-host", host, "--rest-port", str(port), "--grpc-host", host, "--grpc-port", str(grpc_port)]
    return [sys.executable, "-m", "bqemulator", "start", *addresses, "--project", project, *storage]


def launch(
    command: list[str], *, work: Path, home: Path | None = None, output: IO[bytes] | None = None
) -> subprocess.Popen[bytes]:
    """Start the stand-in with `work` for what it uploads; its log goes to `output`, else where ours goes."""
    environment = {
        **os.environ,
        "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
        "BQEMU_UPLOAD_STAGING_DIR": str(work / "uploads"),
        "BQEMU_LOG_LEVEL": "warning",
        # It bounds its own answers by this too, and a message of Storage Read may exceed the usual 11 MB.
        "BQEMU_WRITE_API_MAX_REQUEST_BYTES": str(128 * 1024 * 1024),
        **({"HOME": str(home)} if home else {}),
    }
    # in `work`, since it reads settings from the folder that it is started in
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        cwd=work,
        env=environment,
    )


def is_ready(host: str, port: int) -> bool:
    """Whether it answers, and so does the database behind it."""
    try:
        with urllib.request.urlopen(f"http://{reached_at(host)}:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
