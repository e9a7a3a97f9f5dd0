"""Progress reaches the operator, and never costs the run anything."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipeline_runner.progress import HttpProgress, Stage, percent


class Operator(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        self.got: list[tuple[str | None, dict[str, Any]]] = []
        self.arrived = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()
        self.redirect: str | None = None
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/progress"


class Handler(BaseHTTPRequestHandler):
    server: Operator

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.headers["Authorization"], body))
        self.server.arrived.release()
        self.server.open.wait(10)
        self.send_response(302 if self.server.redirect else 204)
        if self.server.redirect:
            self.send_header("Location", self.server.redirect)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.got.append((self.headers["Authorization"], {}))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def operator() -> Iterator[Operator]:
    server = Operator()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.open.set()
    server.shutdown()
    server.server_close()


def test_a_message_says_run_pod_stage_and_how_far(operator: Operator) -> None:
    HttpProgress(operator.url, "a-token", run_id="run_a", pod_uid="uid").report(Stage.EXTRACT, 0.5, 10)
    assert operator.arrived.acquire(timeout=10)
    expected = {"run_id": "run_a", "pod_uid": "uid", "stage": "extract", "progress": 25, "records": 10}
    assert operator.got == [("Bearer a-token", expected)]


def test_a_slow_operator_gets_the_newest_state_and_delays_nobody(operator: Operator) -> None:
    progress = HttpProgress(operator.url, "t", run_id="run_a", pod_uid="uid")
    operator.open.clear()
    progress.report(Stage.EXTRACT, 0.0)
    assert operator.arrived.acquire(timeout=10)
    began = time.monotonic()
    for number in range(1_000):
        progress.report(Stage.EXTRACT, number / 1_000, number)
    progress.report(Stage.LOAD, 1.0, 1_000)
    assert time.monotonic() - began < 1
    operator.open.set()
    assert operator.arrived.acquire(timeout=10)
    assert [body["progress"] for _, body in operator.got] == [0, 100]


def test_the_token_follows_no_redirect(operator: Operator) -> None:
    operator.redirect = f"{operator.url}/elsewhere"
    progress = HttpProgress(operator.url, "t", run_id="run_a", pod_uid="uid")
    for fraction in (0.0, 1.0):  # the second is sent when the first is over and done with
        progress.report(Stage.LOAD, fraction)
        assert operator.arrived.acquire(timeout=10)
    assert [body.get("progress") for _, body in operator.got] == [75, 100]


def test_the_token_goes_through_no_proxy(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    HttpProgress(operator.url, "t", run_id="run_a", pod_uid="uid").report(Stage.LOAD, 1.0)
    assert operator.arrived.acquire(timeout=10)


def test_nobody_listening_is_harmless(operator: Operator) -> None:
    progress = HttpProgress("http://127.0.0.1:9/progress", "t", run_id="run_a", pod_uid="uid")
    for number in range(10):
        progress.report(Stage.LOAD, number / 10)


@pytest.mark.parametrize(
    ("stage", "fraction", "expected"),
    [
        (Stage.EXTRACT, 0, 0),
        (Stage.EXTRACT, 1, 50),
        (Stage.TRANSFORM, 1, 75),
        (Stage.LOAD, 1, 100),
        (Stage.LOAD, 7, 100),
    ],
)
def test_stages_share_the_hundred(stage: Stage, fraction: float, expected: int) -> None:
    assert percent(stage, fraction) == expected


def test_the_word_that_it_has_published_is_the_last(operator: Operator) -> None:
    progress = HttpProgress(operator.url, "t", run_id="run_a", pod_uid="uid")
    operator.open.clear()
    progress.report(Stage.LOAD, 0.0)
    assert operator.arrived.acquire(timeout=10)
    progress.published(42)
    progress.report(Stage.LOAD, 0.5)  # a processor that reports while it tidies up
    operator.open.set()
    progress.flush()
    last = operator.got[-1][1]
    assert (last["progress"], last["records"], last["published_after"] > 0) == (100, 42, True)
    assert len(operator.got) == 2


def test_an_operator_that_does_not_answer_holds_up_no_end(operator: Operator) -> None:
    progress = HttpProgress(operator.url, "t", run_id="run_a", pod_uid="uid")
    operator.open.clear()
    progress.published(42)
    assert operator.arrived.acquire(timeout=10)
    began = time.monotonic()
    progress.flush()
    assert time.monotonic() - began < 2
