"""The bridge as a process: its settings, readiness, metrics, limits of connections, and how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from pipeline_bridge.server import MOST_HEAD_BYTES
from support.bridge import PEPPER, BridgeProcess, bridge_process


@dataclass
class NothingThere:
    """A Kubernetes API without any object; where `is_away`, it answers nothing but 503."""

    is_away: bool = False
    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def kubernetes() -> Iterator[NothingThere]:
    api = NothingThere()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append(self.path)
            status, reason = (503, "ServiceUnavailable") if api.is_away else (404, "NotFound")
            body = json.dumps({"kind": "Status", "reason": reason, "message": f"it says {reason}"}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    api.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def api() -> Iterator[NothingThere]:
    with kubernetes() as found:
        yield found


def environment(database_url: str, api: NothingThere, folder: Path) -> dict[str, str]:
    named = [{"name": "one", "cluster": {"server": api.url}}]
    users = [{"name": "one", "user": {}}]
    contexts = [{"name": "one", "context": {"cluster": "one", "user": "one"}}]
    config = {"apiVersion": "v1", "kind": "Config", "clusters": named, "users": users, "contexts": contexts}
    path = folder / "kubeconfig"
    path.write_text(json.dumps({**config, "current-context": "one"}))
    return {"PIPELINES_DATABASE_URL": database_url, "KUBECONFIG": str(path)}


@pytest.fixture
def bridge(database_url: str, api: NothingThere, tmp_path: Path) -> Iterator[BridgeProcess]:
    api.is_away = False
    with bridge_process(environment(database_url, api, tmp_path)) as found:
        yield found


def ready(bridge: BridgeProcess) -> httpx2.Response:
    return httpx2.get(f"{bridge.url}/readyz")


def until(bridge: BridgeProcess, status: int) -> httpx2.Response:
    deadline = time.monotonic() + 20
    while (answer := ready(bridge)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return answer


def test_it_serves_and_is_told_to_stop(bridge: BridgeProcess) -> None:
    assert httpx2.get(f"{bridge.url}/healthz").text == "ok\n"
    answer = httpx2.get(f"{bridge.url}/pipelines/status/acme/run_1", headers={"X-Request-Id": "r1"})
    assert answer.status_code == 401
    assert "server" not in answer.headers
    assert httpx2.get(f"{bridge.url}/validator/pipelines").status_code == 200
    metrics = httpx2.get(bridge.metrics_url).text
    for line in (
        'pipelines_bridge_requests_total{method="GET",route="/validator/pipelines",status="200"} 1.0',
        "pipelines_bridge_ready 1.0",
        'pipelines_build_info{component="bridge"',
    ):
        assert line in metrics
    bridge.process.send_signal(signal.SIGTERM)
    assert bridge.process.wait(20) == 0
    lines = [json.loads(line) for line in bridge.log.read_text().splitlines()]
    assert {line["component"] for line in lines} == {"bridge"}
    assert [line["event"] for line in lines if line["logger"] == "pipeline_bridge.main"] == ["stops", "stopped"]
    (access,) = [line for line in lines if line.get("request_id") == "r1"]
    assert (access["status"], access["route"]) == (401, "/pipelines/status/{org}/{run_id}")


def test_readiness_follows_the_api_server(bridge: BridgeProcess, api: NothingThere) -> None:
    api.is_away = True
    assert until(bridge, 503).text == "kubernetes\n"
    assert "the Kubernetes API can't be reached: GET /apis/pipelines.dev/" in bridge.log.read_text()
    assert httpx2.get(f"{bridge.url}/healthz").status_code == 200
    probes = bridge.metrics_url.removesuffix("/metrics")
    assert (httpx2.get(f"{probes}/readyz").text, httpx2.get(f"{probes}/healthz").text) == ("kubernetes\n", "ok\n")
    api.is_away = False
    until(bridge, 200)
    assert set(api.asked) == {"/apis/pipelines.dev/v1alpha1/namespaces/default/pipelineruns/pipelines-bridge-readiness"}


def test_it_is_not_ready_without_postgresql_and_says_so(api: NothingThere, tmp_path: Path) -> None:
    api.is_away = False
    with socket.create_server(("127.0.0.1", 0)) as refusing:
        port = refusing.getsockname()[1]
    url = f"postgresql://pipelines:hunter2@127.0.0.1:{port}/pipelines"
    with bridge_process(environment(url, api, tmp_path), wait=False) as bridge:
        deadline = time.monotonic() + 30
        text = ""
        while "store" not in text:
            assert time.monotonic() < deadline, text
            try:
                text = ready(bridge).text
            except httpx2.TransportError:
                time.sleep(0.05)
        answer = httpx2.get(
            f"{bridge.url}/pipelines/status/acme/run_1", headers={"X-API-Key": f"plk_{'a' * 16}_{'b' * 43}"}
        )
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "PostgreSQL" in bridge.log.read_text()
        assert "hunter2" not in bridge.log.read_text() + text + answer.text
        assert str(port) not in text


def test_clients_without_a_key_take_neither_the_process_nor_its_probes(
    database_url: str, api: NothingThere, tmp_path: Path
) -> None:
    api.is_away = False
    limit = {"PIPELINES_MAX_CONNECTIONS_PER_ADDRESS": "5"}
    with bridge_process(environment(database_url, api, tmp_path) | limit) as bridge, ExitStack() as held:
        peers = [held.enter_context(connection(bridge)) for _ in range(5)]
        for peer in peers:
            peer.sendall(b"GET /pipelines/history/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
            assert peer.recv(1024).startswith(b"HTTP/1.1 401 ")
        began = time.monotonic()
        probes = bridge.metrics_url.removesuffix("/metrics")
        assert httpx2.get(f"{probes}/healthz").text == httpx2.get(f"{probes}/readyz").text == "ok\n"
        while peers[0].recv(1024):
            pass  # until the server ends what goes on after its answer
        assert time.monotonic() - began < 10
        until(bridge, 200)


def test_a_head_that_never_ends_is_given_up(bridge: BridgeProcess) -> None:
    with connection(bridge) as peer:
        peer.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
        answer = b""
        try:
            for _ in range(MOST_HEAD_BYTES // 1024 + 64):
                peer.sendall(b"x" * 1024)
            answer = peer.recv(1024)
        except OSError:
            pass  # closed while we were still sending
        assert answer.startswith(b"HTTP/1.1 400") or answer == b""
    with httpx2.Client() as client:  # one connection: each request is counted apart
        for _ in range(MOST_HEAD_BYTES // 8192 + 2):
            assert client.get(f"{bridge.url}/healthz", headers={"X-Long": "x" * 8192}).status_code == 200


def test_long_bodies_are_no_heads(bridge: BridgeProcess) -> None:
    size = MOST_HEAD_BYTES + 4096
    path = f"{bridge.url}/pipelines/run/acme/gcp/cost/billing"
    for content in (b"x" * size, (b"x" * 1024 for _ in range(size // 1024))):
        assert httpx2.post(path, content=content).status_code == 401


@contextmanager
def connection(bridge: BridgeProcess) -> Iterator[socket.socket]:
    address = httpx2.URL(bridge.url)
    with socket.create_connection((address.host, address.port or 0), timeout=20) as peer:
        yield peer


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PIPELINES_ENV": "Dev!"}, "setting env:"),
        ({"PIPELINES_API_KEY_PEPPER": "hunter2"}, "setting"),
        ({"PIPELINES_DATABASE_URL": "mysql://u:hunter2@h/d"}, "setting"),
        ({"PIPELINES_MAX_STREAMS": "0"}, "setting max_streams:"),
    ],
)
def test_wrong_settings_are_named(changes: dict[str, str], said: str) -> None:
    right = {"PIPELINES_ENV": "dev", "PIPELINES_API_KEY_PEPPER": PEPPER, "PIPELINES_DATABASE_URL": "postgresql://h/d"}
    ended = subprocess.run(
        [sys.executable, "-m", "pipeline_bridge"],
        env={**os.environ, **right, **changes},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 2
    assert said in ended.stdout
    assert "hunter2" not in ended.stdout + ended.stderr


def test_a_port_that_is_taken_is_said(database_url: str, api: NothingThere, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        changes = {"PIPELINES_HTTP_PORT": str(taken.getsockname()[1])}
        with bridge_process(environment(database_url, api, tmp_path) | changes, wait=False) as bridge:
            assert bridge.process.wait(60) == 1
            assert "address already in use" in bridge.log.read_text()
