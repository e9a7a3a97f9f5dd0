"""The health and metrics server of the long-running processes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from pipeline_local.services.processes import free_port
from pipeline_operator.http import serve, serve_apart
from support.waiting import eventually, listens


@asynccontextmanager
async def serving(function: Callable[..., Coroutine[Any, Any, None]] = serve, **options: object) -> AsyncIterator[str]:
    port = free_port()
    task = asyncio.create_task(function("127.0.0.1", port, **options))

    async def listening() -> bool:
        assert not task.done()
        return await listens(port)

    await eventually(listening)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_checks_metrics_and_further_routes() -> None:
    registry = CollectorRegistry()
    Gauge("answers", "Of a test.", registry=registry).set(42)
    state: dict[str, str | None] = {"healthy": None, "ready": "still starting"}

    async def echo(request: web.Request) -> web.Response:
        return web.Response(text=await request.text())

    async with (
        serving(
            healthy=lambda: state["healthy"],
            ready=lambda: state["ready"],
            extra_routes=[web.post("/echo", echo)],
            registry=registry,
        ) as url,
        aiohttp.ClientSession(url) as session,
    ):

        async def get(path: str) -> tuple[int, str]:
            async with session.get(path) as answer:
                return answer.status, await answer.text()

        assert await get("/healthz") == (200, "ok\n")
        assert await get("/readyz") == (503, "still starting\n")
        state.update(healthy="stuck", ready=None)
        assert await get("/healthz") == (503, "stuck\n")
        assert await get("/readyz") == (200, "ok\n")
        assert "answers 42.0" in (await get("/metrics"))[1]
        assert (await get("/other"))[0] == 404
        async with session.post("/echo", data=b"x" * 70_000) as answer:
            assert answer.status == 413


async def test_apart_it_serves_in_a_thread_and_handles_routes_on_the_callers_loop() -> None:
    threads: dict[str, int] = {}

    def healthy() -> None:
        threads["check"] = threading.get_ident()

    async def take(request: web.Request) -> web.Response:
        threads["route"] = threading.get_ident()
        await asyncio.sleep(0)
        return web.Response(text=await request.text(), status=202)

    async with (
        serving(serve_apart, healthy=healthy, ready=lambda: None, extra_routes=[web.post("/take", take)]) as url,
        aiohttp.ClientSession(url) as session,
    ):
        async with session.get("/healthz") as answer:
            assert answer.status == 200
        async with session.post("/take", data=b"words") as answer:
            assert (answer.status, await answer.text()) == (202, "words")
    assert threads["route"] == threading.get_ident() != threads["check"]
    with pytest.raises(aiohttp.ClientConnectionError):
        async with aiohttp.ClientSession(url) as session, session.get("/healthz"):
            pass


async def test_apart_a_port_that_is_taken_is_an_error() -> None:
    async with serving(serve_apart, healthy=lambda: None, ready=lambda: None) as url:
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            await serve_apart("127.0.0.1", port, healthy=lambda: None, ready=lambda: None)
