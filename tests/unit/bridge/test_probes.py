"""Probes on the port of the metrics: answered in other threads, also while the event loop is stuck, and then by 503."""

import asyncio
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from pipeline_bridge.probes import Heartbeat, Probes
from support.bridge import free_ports
from support.waiting import eventually


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def serving(healthy: str | None = None, ready: str | None = None) -> Iterator[int]:
    (port,) = free_ports(1)
    with closing(Probes("127.0.0.1", port, healthy=lambda: healthy, ready=lambda: ready)):
        yield port


def test_all_is_well() -> None:
    with serving() as port:
        assert ask(port, "/healthz") == (200, "ok\n")
        assert ask(port, "/readyz") == (200, "ok\n")
        assert "pipelines_bridge_ready" in ask(port, "/metrics")[1]


def test_what_is_away_makes_it_unready_and_not_unhealthy() -> None:
    with serving(ready="store") as port:
        assert ask(port, "/readyz") == (503, "store\n")
        assert ask(port, "/healthz") == (200, "ok\n")


def test_what_is_stuck_is_neither() -> None:
    with serving(healthy="stuck") as port:
        assert ask(port, "/healthz") == (503, "stuck\n")
        assert ask(port, "/readyz") == (503, "stuck\n")


def test_clients_that_dawdle_keep_no_probe_from_its_answer() -> None:
    with serving() as port:
        dawdling = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        try:
            for each in dawdling:
                each.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
            assert ask(port, "/healthz") == (200, "ok\n")
        finally:
            for each in dawdling:
                each.close()


def test_it_stops_listening() -> None:
    with serving() as port:
        pass
    with pytest.raises(urllib.error.URLError):
        ask(port, "/healthz")


def test_a_port_that_is_taken_is_said() -> None:
    with serving() as port, pytest.raises(OSError, match="in use"):
        Probes("127.0.0.1", port, healthy=lambda: None, ready=lambda: None)


async def test_a_loop_beats_while_it_runs() -> None:
    clock = Clock()
    heartbeat = Heartbeat(clock)
    beating = asyncio.create_task(heartbeat.beat_forever(1e-3))

    async def is_well() -> bool:
        return heartbeat.wrong() is None

    await asyncio.sleep(0)
    clock.time += 6
    assert heartbeat.wrong() == "stuck"
    await eventually(is_well)
    beating.cancel()


async def test_a_stuck_loop_is_told_of_from_outside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_bridge.probes._STUCK_SECONDS", 0.05)
    heartbeat = Heartbeat()
    (port,) = free_ports(1)
    with closing(Probes("127.0.0.1", port, healthy=heartbeat.wrong, ready=lambda: None)):
        beating = asyncio.create_task(heartbeat.beat_forever(1e-3))
        assert await asyncio.to_thread(ask, port, "/healthz") == (200, "ok\n")
        asked = asyncio.to_thread(_ask_until_stuck, port)
        task = asyncio.create_task(asked)
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - that is what a stuck loop is
        assert await task == (503, "stuck\n")
        beating.cancel()


def _ask_until_stuck(port: int) -> tuple[int, str]:
    deadline = time.monotonic() + 10
    while (answer := ask(port, "/healthz"))[0] == 200:
        assert time.monotonic() < deadline
    return answer
