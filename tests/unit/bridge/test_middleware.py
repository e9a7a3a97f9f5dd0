"""What is around every endpoint: request ids, traces, limits of bodies, headers, the access log, metrics, defects."""

import asyncio
import io
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from pipeline_bridge import access_log, middleware
from pipeline_bridge.request_context import context_of
from pipeline_core.api_keys import Scope
from pipeline_core.logging import configure_logging
from support.bridge import Bridge, settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NEW_ID = re.compile(r"[0-9a-f]{32}")


@pytest.fixture
def bridge() -> Bridge:
    """With endpoints that read bodies, stream, and fail."""
    bridge = Bridge(settings=settings(max_body_bytes=1024))

    async def echo(request: Request) -> Response:
        body = await request.body()
        state, bound = request.state, structlog.contextvars.get_contextvars()
        found = {"bytes": len(body), "request_id": state.request_id, "traceparent": state.traceparent}
        return Response(json.dumps({**found, "bound": bound}), media_type="application/json")

    async def stream(_request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            for _ in range(3):
                assert value("pipelines_bridge_open_streams") == 1
                yield "part\n"

        return StreamingResponse(parts(), media_type="text/plain")

    async def broken_stream(_request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            yield "part\n"
            raise RuntimeError("in the middle")

        return StreamingResponse(parts())

    async def defect(request: Request) -> Response:
        raise RuntimeError(f"never said: {request.headers['x-api-key']}")

    async def kept(_request: Request) -> Response:
        return PlainTextResponse("x", headers={"Cache-Control": "no-cache"})

    for endpoint in (echo, stream, broken_stream, defect, kept):
        bridge.app.add_route(f"/try/{endpoint.__name__}", endpoint, methods=["GET", "POST"])
    return bridge


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """The lines logged so far, as the process writes them to its standard error."""
    root, hook, stream = logging.getLogger(), sys.excepthook, io.StringIO()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(access_log, "sys", SimpleNamespace(stderr=stream))
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    configure_logging("info", "bridge")
    structlog.configure(cache_logger_on_first_use=False)
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], sys.excepthook = handlers, hook
    root.setLevel(level)
    logging.getLogger("httpx2").setLevel(logging.NOTSET)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.mark.parametrize("given", ["a", "A-b_c.9", "x" * 128])
async def test_a_request_id_is_kept(bridge: Bridge, given: str) -> None:
    async with bridge.client() as client:
        answer = await client.get("/try/echo", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == given
    assert answer.json()["bound"] == {"request_id": given}


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "a/b", 'a"b', "é".encode(), b"a\tb"])
async def test_one_that_is_not_well_formed_is_replaced(bridge: Bridge, given: str | bytes) -> None:
    async with bridge.client() as client:
        answer = await client.get("/try/echo", headers={"X-Request-Id": given})
    assert NEW_ID.fullmatch(answer.headers["x-request-id"])
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_ids_are_new_each_time(bridge: Bridge) -> None:
    async with bridge.client() as client:
        assert len({(await client.get("/try/echo")).headers["x-request-id"] for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (TRACEPARENT, TRACEPARENT),
        (None, None),
        ("", None),
        (TRACEPARENT.upper(), None),
        (TRACEPARENT + "-x", None),
        ("ff" + TRACEPARENT[2:], None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        ("garbage", None),
    ],
)
async def test_a_place_in_a_trace_is_kept_if_it_is_one(bridge: Bridge, given: str | None, kept: str | None) -> None:
    async with bridge.client() as client:
        answer = await client.get("/try/echo", headers={} if given is None else {"traceparent": given})
    assert answer.json()["traceparent"] == kept


def test_what_is_given_twice_is_not_given() -> None:
    twice = [(b"x-request-id", b"a"), (b"x-request-id", b"b"), (b"traceparent", TRACEPARENT.encode())] * 2
    context = context_of(twice)
    assert NEW_ID.fullmatch(context.request_id)
    assert context.traceparent is None


async def test_nothing_stays_bound_after_a_request(bridge: Bridge) -> None:
    async with bridge.client() as client:
        await client.get("/try/echo")
        await client.get("/try/defect")
    assert not structlog.contextvars.get_contextvars()


@pytest.mark.parametrize(("size", "status"), [(0, 200), (1024, 200), (1025, 413), (10_000_000, 413)])
async def test_a_body_is_as_long_as_it_may_be(bridge: Bridge, size: int, status: int) -> None:
    async with bridge.client() as client:
        answer = await client.post("/try/echo", content=b"x" * size)
    assert answer.status_code == status
    if status == 413:
        assert answer.json()["type"] == "urn:pipelines:problem:body-too-large"
        assert answer.json()["detail"] == "The body has more than 1024 bytes"


@pytest.mark.parametrize(("pieces", "status"), [(1, 200), (2, 200), (3, 413), (50, 413)])
async def test_one_whose_length_is_not_told_is_counted(bridge: Bridge, pieces: int, status: int) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(pieces):
            read += 1
            yield b"x" * 512

    async with bridge.client() as client:
        answer = await client.post("/try/echo", content=body())
    assert answer.status_code == status
    assert read <= 4, "what is too much isn't read to its end"


async def test_a_body_that_does_not_come_is_given_up(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "_BODY_SECONDS", 0.01)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/try/echo", "raw_path": b"/try/echo", "query_string": b"", "root_path": "",
        "headers": [(b"content-length", b"5")], "client": ("127.0.0.1", 1), "server": ("bridge", 80), "state": {},
    }  # fmt: skip
    await bridge.app(scope, receive, send)
    assert sent[0]["status"] == 408


async def test_headers_of_every_answer(bridge: Bridge) -> None:
    async with bridge.client() as client:
        for path in ("/try/echo", "/try/defect", "/nothing", "/healthz", "/try/stream", "/validator/pipelines"):
            answer = await client.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff", path
            assert answer.headers["cache-control"] == ("no-cache" if "validator" in path else "no-store"), path
        assert (await client.get("/try/kept")).headers.get_list("cache-control") == ["no-cache"]


async def test_the_access_log_is_a_line_for_each_request(bridge: Bridge, lines: Any) -> None:
    key = bridge.key(Scope.READ)
    async with bridge.client(key) as client:
        await client.get(
            "/api/v1/pipelines/status/acme/run_1?x=secret",
            headers={"X-Request-Id": "r1", "traceparent": TRACEPARENT, "Cookie": "c=secret"},
        )
    (line,) = [each for each in lines() if each["logger"] == access_log.LOGGER]
    assert line.pop("duration_ms") > 0
    assert line.pop("timestamp").endswith("Z")
    assert line.pop("bytes") > 0
    assert line == {
        "event": "request",
        "level": "info",
        "logger": "pipeline_bridge.access",
        "component": "bridge",
        "method": "GET",
        "path": "/api/v1/pipelines/status/acme/run_1",
        "route": "/pipelines/status/{org}/{run_id}",
        "status": 422,
        "client": "127.0.0.1",
        "key_id": key[4:20],
        "org": "acme",
        "request_id": "r1",
        "trace_id": TRACE,
    }


async def test_no_key_reaches_the_log_whatever_happens(bridge: Bridge, lines: Any) -> None:
    right = bridge.key(Scope.READ)
    other = Bridge().key(Scope.READ)
    for key in (right, other, f"{right}x", "plk_"):
        async with bridge.client(key) as client:
            for path in (
                "/pipelines/history/acme",
                "/pipelines/history/globex",
                "/pipelines/history/acme?limit=0",
                f"/pipelines/history/acme?key={key}",
                f"/pipelines/history/{key}",
                f"/pipelines/status/acme/{key}",
                f"/{key}",
                "/try/defect",
            ):
                await client.get(path)
                await client.post(path, json={"key": key}, headers={"X-Request-Id": "r"})
    text = json.dumps(lines())
    assert text.count('"event": "request"') == 4 * 8 * 2
    for key in (right, other):
        assert key not in text
        assert key[21:] not in text


async def test_a_defect_is_logged_with_its_traceback_and_the_request_id(bridge: Bridge, lines: Any) -> None:
    async with bridge.client("k") as client:
        await client.get("/try/defect", headers={"X-Request-Id": "r1"})
    error, access = lines()
    assert (error["level"], error["request_id"]) == ("error", "r1")
    assert "RuntimeError" in error["exception"]
    assert (access["status"], access["request_id"]) == (500, "r1")


async def test_a_stream_is_logged_once_it_has_ended(bridge: Bridge, lines: Any) -> None:
    async with bridge.client() as client:
        answer = await client.get("/try/stream")
    assert answer.text == "part\n" * 3
    (line,) = lines()
    assert (line["status"], line["bytes"]) == (200, 15)
    assert value("pipelines_bridge_open_streams") == 0


async def test_a_stream_that_breaks_off_leaves_nothing_open(bridge: Bridge, lines: Any) -> None:
    async with bridge.client() as client:
        with pytest.raises(AssertionError):  # the client's: the answer never came to its end
            await client.get("/try/broken_stream")
    assert [each["event"] for each in lines()] == ["unexpected error", "request"]
    assert value("pipelines_bridge_open_streams") == 0


async def test_a_client_that_goes_is_no_defect(bridge: Bridge, lines: Any) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/try/echo", "raw_path": b"/try/echo", "query_string": b"", "root_path": "",
        "headers": [(b"content-length", b"5")], "client": None, "server": ("bridge", 80), "state": {},
    }  # fmt: skip
    await bridge.app(scope, receive, send)
    (line,) = lines()
    assert line["status"] == 499


async def test_probes_are_neither_logged_nor_counted(bridge: Bridge, lines: Any) -> None:
    async with bridge.client() as client:
        for path in ("/healthz", "/readyz"):
            await client.get(path)
    assert not lines()
    assert value("pipelines_bridge_requests_total", method="GET", route="/healthz", status="200") == 0


async def test_the_access_log_follows_the_level(bridge: Bridge, lines: Any) -> None:
    logging.getLogger().setLevel(logging.WARNING)
    async with bridge.client() as client:
        await client.get("/try/echo")
    assert not lines()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/a", "/a"),
        ("/" + "x" * 600, "/" + "x" * 499 + "…"),
        ("/a/plk_abc_def/b", "/a/plk_[redacted]/b"),
        ("/" + "x" * 490 + "plk_0123456789abcdef_secret", "/" + "x" * 490 + "plk_[redacted]…"),
    ],
)
def test_paths_in_the_log(path: str, shown: str) -> None:
    assert access_log.clean_path(path) == shown
