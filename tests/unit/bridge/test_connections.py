"""No client takes the process: connections for each address, what follows a body, and a request after its answer."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.requests import Request

from pipeline_bridge import server
from pipeline_bridge.connections import Connections
from pipeline_bridge.server import MOST_HEAD_BYTES, BridgeServer
from support.bridge import Bridge
from support.waiting import eventually

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PATH = b"/api/v1/pipelines/history/acme"
CHUNKED = b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
MANY = (b"x: " + b"y" * 1000 + b"\r\n") * 1000
ONE = b"z" * 1_000_000
# The requests that an endpoint which never answers has begun with.
ENTERED: list[Request] = []


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Of a server with at most three connections from an address."""
    bridge = Bridge()
    ENTERED.clear()

    async def endpoint(request: Request) -> None:
        ENTERED.append(request)
        while (await request.receive())["type"] != "http.disconnect":
            pass

    bridge.app.add_route("/never", endpoint, methods=["GET"])  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = BridgeServer(bridge.app, "127.0.0.1", 0, connections_each=3)
        task = asyncio.create_task(running.serve(sockets=[listener]))
        await eventually(lambda: _has_started(running))
        yield listener.getsockname()[1]
        running.should_exit = True
        await task


async def _is_entered() -> bool:
    return bool(ENTERED)


async def _has_started(running: BridgeServer) -> bool:
    return running.started


async def connect(port: int, request: bytes) -> Connection:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    return reader, writer


async def is_cut_off(connection: Connection, sent: bytes, *, most: int = 50, pause: float = 0) -> bool:
    """Whether the server ends the connection before it has taken `sent` so many times."""
    _, writer = connection
    try:
        async with asyncio.timeout(15):
            for _ in range(most):
                writer.write(sent)
                await writer.drain()
                await asyncio.sleep(pause)
        return False
    except ConnectionError:
        return True
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("trailers", [MANY, ONE])
async def test_trailers_after_the_answer_are_cut_off(port: int, trailers: bytes) -> None:
    connection = await connect(port, b"GET " + PATH + CHUNKED)
    assert (await connection[0].readline()).startswith(b"HTTP/1.1 401 ")
    assert await is_cut_off(connection, b"0\r\nX-A: " + trailers)


@pytest.mark.parametrize("trailers", [MANY, ONE])
async def test_trailers_before_an_answer_are_cut_off(port: int, trailers: bytes) -> None:
    connection = await connect(port, b"GET /never" + CHUNKED + b"0\r\nX-A: ")
    assert await is_cut_off(connection, trailers)


async def test_extensions_of_a_chunk_are_cut_off(port: int) -> None:
    connection = await connect(port, b"GET /never" + CHUNKED + b"5;a=")
    assert await is_cut_off(connection, ONE)


async def test_it_says_what_was_too_much(port: int) -> None:
    reader, writer = await connect(port, b"GET /never" + CHUNKED)
    async with asyncio.timeout(15):
        await eventually(_is_entered)
        trailers = b"0\r\nX-A: "
        writer.write(trailers + b"z" * (MOST_HEAD_BYTES + 1 - len(trailers)))
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"More than 32768 bytes follow the body" in answer
    writer.close()


async def test_a_few_trailers_are_read_and_no_headers(port: int) -> None:
    reader, writer = await connect(port, b"GET /healthz" + CHUNKED + b"2\r\nab\r\n0\r\nX-Request-Id: trailer\r\n\r\n")
    async with asyncio.timeout(15):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"trailer" not in head
        await reader.readexactly(3)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_a_request_that_goes_on_after_its_answer_is_ended(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_REST_SECONDS", 0.2)
    reader, writer = await connect(port, b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n")
    async with asyncio.timeout(15):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 413 ")
        assert await is_cut_off((reader, writer), b"x", pause=0.01, most=1000)


async def test_a_body_that_comes_just_after_the_answer_keeps_the_connection(port: int) -> None:
    reader, writer = await connect(port, b"POST " + PATH + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n")
    async with asyncio.timeout(15):
        head = await reader.readuntil(b"\r\n\r\n")
        (length,) = [int(line[16:]) for line in head.splitlines() if line.startswith(b"content-length: ")]
        await reader.readexactly(length)
        writer.write(b"abcGET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()


async def test_one_address_has_so_many_connections_and_one_that_closes_makes_room(port: int) -> None:
    held = [await connect(port, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(3)]
    async with asyncio.timeout(15):
        reader, writer = await connect(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.transport.abort()
        for _, each in held:
            each.transport.abort()
        await eventually(lambda: _answers(port))


async def _answers(port: int) -> bool:
    async with httpx2.AsyncClient() as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
        except httpx2.TransportError:
            return False


async def test_clients_that_are_gone_are_looked_for(port: int) -> None:
    reader, writer = await connect(port, b"GET /never HTTP/1.1\r\nHost: x\r\n\r\n")
    del reader
    here = writer.get_extra_info("sockname")
    timers = ""

    async def is_probed() -> bool:
        nonlocal timers
        timers = _timer_of_the_servers_end(port, here[1])
        return timers == "02"

    await eventually(is_probed)
    writer.transport.abort()


def _timer_of_the_servers_end(port: int, peer: int) -> str:
    """The kind of timer that the kernel keeps for the end at `port`; 02 is keepalive (proc_net_tcp.rst)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[2].endswith(f":{peer:04X}"):
            return fields[5].partition(":")[0]
    return ""


def entered(connections: Connections, *hosts: str | None) -> list[bool]:
    return [connections.enter(host) is not None for host in hosts]


def test_each_address_has_its_own_share_and_there_is_one_of_all() -> None:
    connections = Connections(5, 2, trusted="")
    assert entered(connections, *["10.0.0.1"] * 3, "10.0.0.2") == [True, True, False, True]
    assert entered(connections, "10.0.0.3", "10.0.0.4", "10.0.0.5") == [True, True, False]
    connections.leave("10.0.0.1")
    assert entered(connections, "10.0.0.1", "10.0.0.1") == [True, False]


def test_an_ipv6_network_is_one_client() -> None:
    connections = Connections(9, 2, trusted="")
    assert entered(connections, "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:1::1") == [
        True,
        True,
        False,
        True,
    ]


@pytest.mark.parametrize("trusted", ["*", "10.0.0.7", "192.168.0.1, 10.0.0.0/8"])
def test_a_proxy_that_is_believed_speaks_for_many(trusted: str) -> None:
    connections = Connections(9, 2, trusted=trusted)
    assert entered(connections, *["10.0.0.7"] * 5) == [True] * 5
    assert entered(connections, *["172.16.0.1"] * 3) == [True, True, trusted == "*"]
