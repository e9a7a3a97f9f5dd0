"""The embedded services, with the real servers: start, stop, the same data again, a changed password, a death."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import psycopg
import pytest
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google_bigquery

from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths
from pipeline_local.services import postgres_cluster
from pipeline_local.services.bigquery import start_bigquery
from pipeline_local.services.postgres import start_postgres
from pipeline_local.services.processes import Identity, free_port, reachable_by_others, server_identity

PASSWORD = "it's a % \\ password"


@pytest.fixture
def data() -> Iterator[Path]:
    """A folder that the unprivileged user of the database can reach, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="pipelines-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@dataclass
class Services:
    """The supervised container process."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    log: Path

    @property
    def url(self) -> str:
        port = self.environment["PIPELINES_DEV_POSTGRES_PORT"]
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=port, user="pipelines", dbname="pipelines", password=self.password
        )

    @property
    def password(self) -> str:
        return self.environment["PIPELINES_DEV_POSTGRES_PASSWORD"]

    @property
    def bigquery(self) -> google_bigquery.Client:
        address = f"http://127.0.0.1:{self.environment['PIPELINES_DEV_BIGQUERY_PORT']}"
        return google_bigquery.Client(
            "local-dev", credentials=AnonymousCredentials(), client_options={"api_endpoint": address}
        )

    def is_ready(self) -> bool:
        command = [sys.executable, "-m", "pipeline_local.services", "ready"]
        return subprocess.run(command, env=self.environment, check=False, capture_output=True).returncode == 0

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while not self.is_ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(30)


@contextlib.contextmanager
def run_services(data: Path, home: Path, password: str = PASSWORD, **more: str) -> Iterator[Services]:
    environment = {
        **os.environ,
        "HOME": str(home),
        "PIPELINES_DEV_DATA": str(data),
        "PIPELINES_DEV_POSTGRES_PASSWORD": password,
        **{
            f"PIPELINES_DEV_{name}_PORT": str(free_port())
            for name in ("POSTGRES", "BIGQUERY", "BIGQUERY_GRPC", "SIMULATORS")
        },
        **more,
    }
    log = data / "services.log"
    with log.open("ab") as output:
        command = [sys.executable, "-m", "pipeline_local.services"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    services = Services(process, environment, log)
    try:
        services.wait_until_ready()
        yield services
    finally:
        if process.poll() is None:
            services.end()


@pytest.fixture(scope="module")
def home() -> Path:
    """A HOME with DuckDB's extension, as the image has one."""
    with start_bigquery():  # installs it where it isn't
        return Paths.from_environment().cache / "duckdb"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def test_data_survives_a_stop_and_a_changed_password_that_nobody_else_sees(data: Path, home: Path) -> None:
    with run_services(data, home) as services:
        with psycopg.connect(services.url) as connection:
            connection.execute("CREATE TABLE kept (value int)")
            connection.execute("INSERT INTO kept VALUES (42)")
        services.bigquery.create_dataset("kept")
        services.bigquery.query_and_wait("CREATE TABLE kept.one (value INT64)")
        services.bigquery.query_and_wait("INSERT INTO kept.one VALUES (42)")
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
            psycopg.connect(psycopg.conninfo.make_conninfo(services.url, user="postgres"))
        arguments = [command_of(pid) for pid in [services.process.pid, *children(services.process.pid)]]
        assert len(arguments) == 4
        assert not [line for line in arguments if PASSWORD in line]
        assert services.end() == 0
        assert PASSWORD not in services.log.read_text()
        assert "database system is shut down" in services.log.read_text()
    with run_services(data, home, password="another") as services:
        with psycopg.connect(services.url) as connection:
            assert connection.execute("SELECT value FROM kept").fetchall() == [(42,)]
        rows = services.bigquery.query_and_wait("SELECT value FROM kept.one")
        assert [row["value"] for row in rows] == [42]
        old = psycopg.conninfo.make_conninfo(services.url, password=PASSWORD)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(old)


def test_bigquery_makes_trouble_where_that_is_switched_on(data: Path, home: Path) -> None:
    with run_services(data, home, PIPELINES_DEV_BIGQUERY_TROUBLE_SEED="3") as services:
        address = (
            f"http://127.0.0.1:{services.environment['PIPELINES_DEV_BIGQUERY_PORT']}/bigquery/v2/projects/local-dev"
        )
        met = Counter(asked(f"{address}/datasets") for _ in range(60))
        # whoever asks for readiness isn't troubled, else the services' pod would be taken out
        assert all(services.is_ready() for _ in range(3))
        # the client tries again, as everybody must
        services.bigquery.create_dataset("troubled", exists_ok=True, retry=Retry(timeout=60))
        assert services.end() == 0
    assert met[200] > 30
    assert met[503]
    assert met[403]
    assert met[0]


def asked(url: str) -> int:
    """The status of the answer; 0 where none came, or only a part of it."""
    try:
        with urlopen(url, timeout=20) as answer:
            answer.read()
            return int(answer.status)
    except HTTPError as refused:
        with refused:
            return refused.code
    except (URLError, OSError, HTTPException):
        return 0


def test_a_death_ends_all_and_the_next_start_goes_on(data: Path, home: Path) -> None:
    with run_services(data, home) as services:
        with psycopg.connect(services.url) as connection:
            connection.execute("CREATE TABLE kept (value int)")
        kill_and_wait(services, "bin/postgres")
    # as after the restart of a container, where another process has the number of the dead server
    lock = data / "postgres" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{data / 'postgres'}\n")
    with run_services(data, home) as services:
        with psycopg.connect(services.url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        kill_and_wait(services, "bqemulator")


def kill_and_wait(services: Services, victim: str) -> None:
    """Kill one of the servers and see that everything ends."""
    parts = children(services.process.pid)
    os.kill(next(pid for pid in parts if victim in command_of(pid)), signal.SIGKILL)
    assert services.process.wait(30) == 1
    assert not [pid for pid in parts if Path(f"/proc/{pid}").exists()]
    assert "a service died, so all end" in services.log.read_text()
    assert not services.is_ready()


def test_a_first_start_that_was_cut_off_begins_again(data: Path) -> None:
    unfinished = data / ".postgres.unfinished"
    (unfinished / "base").mkdir(parents=True)
    with start_postgres(data, durable=False) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT current_database(), current_user").fetchone() == ("pipelines", "pipelines")
    assert not unfinished.exists()
    assert server.process.returncode == 0


def test_serves_as_many_connections_as_promised() -> None:
    with start_postgres(durable=False) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT current_setting('max_connections')").fetchone() == ("250",)
        assert connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)


def test_a_taken_port_is_never_another_servers_readiness() -> None:
    with start_postgres(durable=False) as server:
        with (
            pytest.raises(LocalError, match="Address already in use"),
            start_postgres(durable=False, port=server.port),
        ):
            pass
        with pytest.raises(LocalError, match=rf"127\.0\.0\.1:{server.port}"), start_bigquery(port=server.port):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")
class TestAsRoot:
    def test_the_server_runs_as_an_unprivileged_user(self) -> None:
        with start_postgres(durable=False) as server:
            status = Path(f"/proc/{server.process.pid}/status").read_text()
        identity = server_identity()
        assert f"Uid:\t{identity.uid}\t{identity.uid}\t{identity.uid}" in status
        assert "Groups:\t \n" in status

    def test_a_folder_that_this_user_cannot_reach_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)
        with pytest.raises(LocalError, match="can't be reached by the unprivileged user"), start_postgres(tmp_path):
            pass

    def test_programs_that_this_user_cannot_reach_are_copied(
        self, tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            postgres_cluster, "reachable_by_others", lambda path: path.name != "bin" and reachable_by_others(path)
        )
        with start_postgres(data, durable=False) as server, psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            program = Path(f"/proc/{server.process.pid}/exe").resolve()
            assert program.is_relative_to(tempfile.gettempdir())
        assert not program.exists()


def test_others_keep_their_own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert server_identity() == Identity(None, None, None)


def test_the_stand_in_in_memory_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with start_bigquery() as stand_in:
        client = google_bigquery.Client(
            stand_in.project,
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": stand_in.environment["BIGQUERY_EMULATOR_HOST"]},
        )
        assert [row[0] for row in client.query_and_wait("SELECT 6 * 7")] == [42]
        assert list(tmp_path.iterdir())
    assert stand_in.process.returncode == 0
    assert not list(tmp_path.iterdir())
