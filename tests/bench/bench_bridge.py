"""What the HTTP API answers a second, and how soon, beside a bare FastAPI endpoint in the same process model.

The bridge is the real process, with a durable PostgreSQL and the local cluster's API server. Its runs are made in a
namespace that no operator watches, so that none of them starts; namespace and runs are deleted at the end.
"""

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kubernetes import client

from bench.http_load import Load, Round
from pipeline_core.api_keys import Scope, make_key
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.api_keys import ApiKeys
from pipeline_core.store.engine import create_engine
from pipeline_core.store.records import RunRecords
from pipeline_local.paths import Paths
from pipeline_local.quickstart import source
from pipeline_local.services.postgres import start_postgres
from pipeline_local.state import State
from support.bridge import PEPPER, BridgeProcess, bridge_process, free_ports
from support.databases import fresh_database, make_template
from support.figures import median, show
from support.local_cluster import api_client, install_crds
from support.operator_process import OperatorProcess
from support.organizations import integrate
from support.runs import new_run
from support.waiting import eventually, listens

HERE = Path(__file__).parent
ORG = "acme"
# The most that a key can be given, a minute; so many runs aren't reached here, a day.
RATE = 1_000_000
ROUNDS = 5
ROUND_SECONDS = 3.0
RUNS = 1_000
IDLE_SECONDS = 10.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def namespace(request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the local cluster, which is brought up where it isn't; deleted at the end with what is in it."""
    if State(Paths.from_environment().state).backend is None:
        request.getfixturevalue("cluster")
    install_crds()
    core, name = client.CoreV1Api(api_client()), f"bench-bridge-{secrets.token_hex(4)}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    yield name
    where = ("pipelines.dev", "v1alpha1", name, "pipelineruns")
    client.CustomObjectsApi(api_client()).delete_collection_namespaced_custom_object(*where)
    core.delete_namespace(name)


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A database on a server that flushes each commit; acme is in it, and may run as much as it likes."""
    with start_postgres() as server:
        make_template(server.url)
        with fresh_database(server.url) as url:
            asyncio.run(integrate(url, ORG, source.SETTINGS, concurrent=RATE))
            yield url


@pytest.fixture(scope="module")
def key(database_url: str) -> str:
    """A key of acme's that opens everything, as often as it likes."""
    made = make_key(PEPPER.encode())

    async def create() -> None:
        engine = create_engine(database_url)
        await ApiKeys(engine).create(
            ORG, name="bench", scopes={Scope.ADMIN}, digest=made.digest, key_id=made.key_id, requests_per_minute=RATE
        )
        await engine.dispose()

    asyncio.run(create())
    return made.text


@pytest.fixture(scope="module")
def bridge(namespace: str, database_url: str) -> Iterator[BridgeProcess]:
    """The bridge, once it is ready."""
    kubeconfig = str(Paths.from_environment().kubeconfig)
    environment = {
        "PIPELINES_DATABASE_URL": database_url, "PIPELINES_NAMESPACES": namespace, "KUBECONFIG": kubeconfig
    }  # fmt: skip
    with bridge_process(environment) as process:
        yield process


@pytest.fixture(scope="module")
def bare_port() -> Iterator[int]:
    """The port of the bare endpoints' process."""
    (port,) = free_ports(1)
    with _ended([sys.executable, str(HERE / "bare_endpoints.py"), str(port)]):
        asyncio.run(eventually(lambda: listens(port)))
        yield port


@contextmanager
def _ended(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def load(port: int, requests: list[str], connections: int) -> Round:
    """A round, asked for by a process of its own. Fails where an answer isn't a 200."""
    given = Load(port=port, connections=connections, seconds=ROUND_SECONDS, requests=requests)
    command = [sys.executable, str(HERE / "http_load.py")]
    ran = subprocess.run(command, input=json.dumps(asdict(given)), check=True, stdout=subprocess.PIPE, text=True)
    found = Round(**json.loads(ran.stdout))
    assert not found.refused, found.refused
    return found


def request(method: str, path: str, key: str, body: object = None) -> str:
    """The bytes of a request, as text."""
    content = "" if body is None else json.dumps(body)
    kind = f"content-type: application/json\r\ncontent-length: {len(content)}\r\n" if content else ""
    return f"{method} /api/v1/{path} HTTP/1.1\r\nhost: bench\r\nx-api-key: {key}\r\n{kind}\r\n{content}"


def compare(bridge: BridgeProcess, bare_port: int, requests: list[str], connections: int) -> dict[str, list[Round]]:
    """Rounds of both in turn, after one of each that isn't counted."""
    ports = {"bridge": int(bridge.url.rpartition(":")[2]), "bare": bare_port}
    found: dict[str, list[Round]] = {name: [] for name in ports}
    for number in range(ROUNDS + 1):
        for name, port in ports.items():
            took = load(port, requests, connections)
            if number:
                found[name].append(took)
    return found


def rows(found: dict[str, list[Round]], connections: int) -> list[tuple[str, ...]]:
    """The two rows of a comparison."""
    bare_rate, bare_p50 = (median([getattr(each, name) for each in found["bare"]]) for name in ("rate", "p50"))
    shown: list[tuple[str, ...]] = []
    for name, title in (("bridge", "bridge"), ("bare", "bare FastAPI (baseline)")):
        rate, p50, p99, cpu = (
            median([getattr(each, field) for each in found[name]]) for field in ("rate", "p50", "p99", "client_cpu")
        )
        over = f"{p50 - bare_p50:.1f}" if name == "bridge" else ""
        figures = (f"{rate:,.0f}", f"{rate / bare_rate:.2f}", f"{p50:.1f}", over, f"{p99:.1f}", f"{cpu:.2f}")
        shown.append((title, str(connections), *figures))
    return shown


HEADER = (
    "way", "connections", "a second", "to baseline", "p50 ms", "over baseline ms", "p99 ms", "client, of a core"
)  # fmt: skip


def test_runs_started(bridge: BridgeProcess, bare_port: int, key: str) -> None:
    asked = [request("POST", f"pipelines/run/{ORG}/gcp/cost/billing", key, {"date": "2026-11-20"})]
    shown = [row for many in (1, 32) for row in rows(compare(bridge, bare_port, asked, many), many)]
    show(f"Runs started, median of {ROUNDS}", HEADER, shown)
    _show_process(bridge, "Its process after these runs")


def test_statuses_read(bridge: BridgeProcess, bare_port: int, key: str, database_url: str) -> None:
    run_ids = asyncio.run(_record_runs(database_url))
    asked = [request("GET", f"pipelines/status/{ORG}/{run_id}", key) for run_id in run_ids]
    shown = [row for many in (32, 64) for row in rows(compare(bridge, bare_port, asked, many), many)]
    show(f"Statuses of {RUNS:,} runs read at random, median of {ROUNDS}", HEADER, shown)
    _show_process(bridge, "Its process after these reads")


async def _record_runs(database_url: str) -> list[str]:
    """Records of runs that have completed."""
    engine, now = create_engine(database_url), datetime.now(UTC)
    records = RunRecords(engine)
    run_ids = [f"run_{secrets.token_hex(16)}" for _ in range(RUNS)]
    await asyncio.gather(*(records.begin(new_run(each, org_slug=ORG, created_at=now)) for each in run_ids))
    end = {"phase": Phase.COMPLETED, "at": now, "started_at": now, "records_processed": 48_211}
    await asyncio.gather(*(records.finish(each, **end) for each in run_ids))  # type: ignore[arg-type]
    await engine.dispose()
    return run_ids


def _show_process(bridge: BridgeProcess, title: str) -> None:
    process = OperatorProcess(bridge.pid, bridge.metrics_url)
    rss, peak, before = process.rss_mib(), process.peak_rss_mib(), process.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    idle = (process.cpu_seconds() - before) / IDLE_SECONDS
    show(title, ("RSS", "RSS, peak", "CPU when idle"), [(f"{rss:.0f} MiB", f"{peak:.0f} MiB", f"{idle:.2%} of a core")])
