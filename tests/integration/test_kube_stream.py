"""Reading from the API server what has no end yet, over real connections: whole, broken off, refused, and left."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from pipeline_core.kube import api as kube
from pipeline_core.kube.api import KubeApi, KubeError, KubeNotReachedError, KubeUnavailableError
from pipeline_local.services.processes import free_port
from support.waiting import eventually


class Server:
    """Answers a log by the name of its pod."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open = 0
        self.seen: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        kind = request.match_info["kind"]
        if kind == "refused":
            return web.json_response({"reason": "BadRequest", "message": "waiting to start"}, status=400)
        if kind == "away":
            return web.Response(status=503, text="etcd")
        response = web.StreamResponse()
        await response.prepare(request)
        self.open += 1
        try:
            await response.write(b"one\n")
            if kind == "broken":
                assert request.transport is not None
                request.transport.abort()
            if kind == "endless":
                await asyncio.Event().wait()
        finally:
            self.open -= 1
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server(free_port())
    application = web.Application()
    application.router.add_get("/logs/{kind}", found.answer)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", found.port)
    await site.start()
    yield found
    await runner.cleanup()


@pytest.fixture
async def api(server: Server) -> AsyncIterator[KubeApi]:
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{server.port}"
    configuration.api_key = {"BearerToken": "Bearer t0ken"}
    made = KubeApi(configuration)
    yield made
    await made.close()


async def read(api: KubeApi, kind: str) -> bytes:
    async with api.stream(f"/logs/{kind}", query={"sinceTime": "2026-11-03T06:00:00Z"}) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_stream_comes_to_its_end(api: KubeApi, server: Server) -> None:
    assert await read(api, "whole") == b"one\n"
    [request] = server.seen
    assert request.query == {"sinceTime": "2026-11-03T06:00:00Z"}
    assert (request.headers["Authorization"], request.headers["Accept"]) == ("Bearer t0ken", "*/*")


async def test_what_the_server_doesnt_give_is_an_error_as_of_any_request(api: KubeApi) -> None:
    with pytest.raises(KubeError, match="waiting to start") as caught:
        await read(api, "refused")
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")
    for kind in ("away", "broken"):
        with pytest.raises(KubeUnavailableError):
            await read(api, kind)


async def test_silence_has_a_limit(api: KubeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kube, "_SILENCE_SECONDS", 0.05)
    with pytest.raises(KubeUnavailableError, match="Timeout"):
        await read(api, "endless")


async def test_no_connection_is_no_answer() -> None:
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{free_port()}"
    api = KubeApi(configuration)
    with pytest.raises(KubeNotReachedError):
        await read(api, "whole")
    await api.close()


async def test_leaving_closes_the_connection_and_many_streams_leave_room_for_requests(
    api: KubeApi, server: Server
) -> None:
    async def hold() -> None:
        async with api.stream("/logs/endless") as chunks:
            async for _ in chunks:
                pass

    with pytest.raises(KubeError):
        await api.request("GET", "/logs/refused")  # its connection stays open
    before = asyncio.all_tasks()
    holders = [asyncio.create_task(hold()) for _ in range(150)]

    async def are_open() -> bool:
        return server.open == len(holders)

    async def are_closed() -> bool:
        return server.open == 0

    await eventually(are_open)
    with pytest.raises(KubeError):  # an answer, at once
        async with asyncio.timeout(5):
            await api.request("GET", "/logs/refused")
    for holder in holders:
        holder.cancel()
    await asyncio.wait(holders)
    await eventually(are_closed)

    async def nothing_is_left() -> bool:
        return asyncio.all_tasks() <= before

    await eventually(nothing_is_left)
