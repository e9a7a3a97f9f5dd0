"""The bridge in tests: in process with everything in memory, or as the real process on a port of the loopback."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from pydantic import SecretStr

from pipeline_bridge.app import make_app
from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.parts import Parts
from pipeline_bridge.placement import Placement
from pipeline_bridge.server import BridgeServer
from pipeline_bridge.settings import BridgeSettings
from pipeline_core.api_keys import Scope, make_key
from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.kube.api import Json, KubeError
from pipeline_core.store.api_keys import ApiKey
from pipeline_core.store.errors import IdempotencyKeyReusedError
from pipeline_core.store.runs import HistoryCursor, StoredRun
from pipeline_core.store.views import EVERY_RUN, HistoryFilter, RunStatus, RunSummary
from support.fake_kubernetes import FakeKubernetes, merge_patch
from support.fake_ledger import FakeFacts, FakeLedger, FakePlans
from support.operator_world import CATALOG, CONFIGS, T0, FakeRecords
from support.waiting import eventually, listens

PEPPER = "a pepper of tests, 32 characters and more"


class FakeKeys:
    """ApiKeys without PostgreSQL. `fault` is called before each call, with its name, and may raise."""

    def __init__(self) -> None:
        self.rows: dict[str, ApiKey] = {}
        self.asked: list[str] = []
        self.uses: list[frozenset[str]] = []
        self.fault: Any = lambda method: None

    async def get(self, key_id: str) -> ApiKey | None:
        self.fault("get")
        self.asked.append(key_id)
        return self.rows.get(key_id)

    async def used(self, key_ids: Collection[str]) -> None:
        self.fault("used")
        self.uses.append(frozenset(key_ids))


class FakeIdempotencyKeys:
    """IdempotencyKeys without PostgreSQL; nothing ever gets old."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.fault: Any = lambda method: None

    async def bind(self, org_slug: str, key: str, fingerprint: bytes, run_id: str) -> str:
        self.fault("bind")
        bound, found = self.rows.setdefault((org_slug, key), (fingerprint, run_id))
        if bound != fingerprint:
            raise IdempotencyKeyReusedError(key)
        return found

    async def find(self, org_slug: str, key: str, fingerprint: bytes) -> str | None:
        self.fault("find")
        bound, found = self.rows.get((org_slug, key), (fingerprint, None))
        if bound != fingerprint:
            raise IdempotencyKeyReusedError(key)
        return found

    async def rebind(self, org_slug: str, key: str, fingerprint: bytes, *, from_run_id: str, to_run_id: str) -> str:
        self.fault("rebind")
        if self.rows.get((org_slug, key)) == (fingerprint, from_run_id):
            self.rows[org_slug, key] = (fingerprint, to_run_id)
        return await self.bind(org_slug, key, fingerprint, to_run_id)


class FakeRunRecords(FakeRecords):
    """Beside what the operator does with records, what readers ask for."""

    async def get(self, run_id: str, *, org_slug: str | None = None) -> StoredRun | None:
        stored = await super().get(run_id)
        return stored if stored is not None and org_slug in {None, stored.org_slug} else None

    async def status(self, run_id: str, org_slug: str) -> RunStatus | None:
        self.fault("status")
        stored = await self.get(run_id, org_slug=org_slug)
        return stored and RunStatus._make(getattr(stored, name) for name in RunStatus._fields)

    async def history(
        self,
        org_slug: str,
        wanted: HistoryFilter = EVERY_RUN,
        *,
        limit: int = 50,
        before: HistoryCursor | None = None,
    ) -> list[RunSummary]:
        self.fault("history")
        stored = [StoredRun.from_row(row) for row in self.rows.values() if row["org_slug"] == org_slug]
        runs = [RunSummary._make(getattr(run, name) for name in RunSummary._fields) for run in stored]
        found = [run for run in runs if _is_wanted(run, wanted) and (before is None or run.cursor < before)]
        return sorted(found, key=lambda run: run.cursor, reverse=True)[:limit]


def _is_wanted(run: RunSummary, wanted: HistoryFilter) -> bool:
    return (
        wanted.provider in {None, run.provider}
        and (not wanted.phases or run.phase in wanted.phases)
        and (wanted.since is None or run.created_at >= wanted.since)
        and (wanted.until is None or run.created_at < wanted.until)
    )


class FakeCluster(FakeKubernetes):
    """Objects whose spec and metadata can be patched, too; their new version is checked where the patch names one."""

    def _patch(self, plural: str, ns: str, name: str | None, _query: Mapping[str, str], body: Json) -> Json:
        current = self._find(plural, ns, name)
        version = (body.get("metadata") or {}).get("resourceVersion")
        if version not in {None, current["metadata"]["resourceVersion"]}:
            raise KubeError(409, "Conflict", "the object has been modified")
        return self.put(plural, merge_patch(current, body))


@dataclass
class Bridge:
    """The bridge's application over an API server, records, plans and keys in memory; `acme` is known and may run."""

    time: datetime = T0
    kubernetes: FakeCluster = field(default_factory=FakeCluster)
    plans: FakePlans = field(default_factory=FakePlans)
    records: FakeRunRecords = field(default_factory=FakeRunRecords)
    keys: FakeKeys = field(default_factory=FakeKeys)
    idempotency: FakeIdempotencyKeys = field(default_factory=FakeIdempotencyKeys)
    catalog: CatalogWatcher = CATALOG
    settings: BridgeSettings = field(default_factory=lambda: settings())

    def __post_init__(self) -> None:
        self.ledger = FakeLedger(self.records, self.plans, self.now)
        cluster = BridgeCluster(self.kubernetes)
        self.parts = Parts(
            settings=self.settings,
            catalog=self.catalog,
            facts=FakeFacts(self.plans),
            ledger=self.ledger,
            records=self.records,
            keys=self.keys,
            idempotency=self.idempotency,
            cluster=cluster,
            placement=Placement(cluster, self.settings),
            now=self.now,
        )
        self.app = make_app(self.parts)

    def now(self) -> datetime:
        return self.time

    def key(self, *scopes: Scope, org: str = "acme", **changes: Any) -> str:
        """The text of a new key of the organization with these scopes; `changes` are further fields of `ApiKey`."""
        made = make_key(PEPPER.encode())
        stored = ApiKey(made.key_id, org, "test", frozenset(scopes), made.digest, self.time)
        self.keys.rows[made.key_id] = replace(stored, **changes)
        return made.text

    def client(self, key: str | None = None, **options: Any) -> httpx2.AsyncClient:
        """A client without a network, which sends this key. Streams come as a whole, when they have ended."""
        return app_client(self.app, key, **options)


def settings(**changes: Any) -> BridgeSettings:
    """Settings as in a test installation."""
    values = {"env": "dev", "api_key_pepper": SecretStr(PEPPER), "catalog_dir": CONFIGS, **changes}
    return BridgeSettings(**values)


def app_client(app: FastAPI, key: str | None = None, **options: Any) -> httpx2.AsyncClient:
    """A client of the application, in process."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    headers = {"X-API-Key": key} if key else {}
    return httpx2.AsyncClient(transport=transport, base_url="http://bridge", headers=headers, **options)


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """The base URL of the application, served on a port of the loopback in this event loop: for streams."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = BridgeServer(app, "127.0.0.1", 0)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        port = listener.getsockname()[1]
        await eventually(lambda: listens(port))
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            await task


@dataclass(frozen=True)
class BridgeProcess:
    """One start of `python -m pipeline_bridge`."""

    url: str
    metrics_url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid


@contextmanager
def bridge_process(
    environment: Mapping[str, str], *, wait: bool = True, seconds: float = 30.0
) -> Iterator[BridgeProcess]:
    """The real process on free ports of the loopback, with these variables beside those of the tests, once /readyz is
    well (unless `wait` is false); told to stop at the end. PIPELINES_DATABASE_URL and KUBECONFIG have to be among them.
    """
    port, metrics_port = free_ports(2)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "bridge.log"
        own = {
            "PIPELINES_ENV": "dev",
            "PIPELINES_API_KEY_PEPPER": PEPPER,
            "PIPELINES_CATALOG_DIR": str(CONFIGS),
            "PIPELINES_HTTP_HOST": "127.0.0.1",
            "PIPELINES_HTTP_PORT": str(port),
            "PIPELINES_METRICS_PORT": str(metrics_port),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "pipeline_bridge"], env={**os.environ, **own, **environment}, stderr=output
            )
        found = BridgeProcess(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{metrics_port}/metrics", process, log)
        try:
            if wait:
                _wait_until_ready(found, seconds)
            yield found
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback that nobody listens on now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def _wait_until_ready(bridge: BridgeProcess, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    answer = "no answer"
    while time.monotonic() < deadline:
        assert bridge.process.poll() is None, f"the bridge ended: {bridge.log.read_text()}"
        try:
            with urllib.request.urlopen(f"{bridge.url}/readyz", timeout=5):
                return
        except urllib.error.HTTPError as error:
            answer = error.read().decode()
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready within {seconds:g} s: {answer}\n{bridge.log.read_text()}")
