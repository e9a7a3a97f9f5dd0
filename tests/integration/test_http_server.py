"""The health and metrics server of the long-running processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge

from pipeline_local.services.processes import free_port
from pipeline_operator.http import serve
from support.waiting import eventually


@asynccontextmanager
async def serving(**options: object) -> AsyncIterator[str]:
    port = free_port()
    task = asyncio.create_task(serve("127.0.0.1", port, **options))  # type: ignore[arg-type]

    async def listening() -> bool:
        assert not task.done()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True

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
