"""The server gives up connections that dawdle over a request's head, and no others."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest

from pipeline_bridge import server
from pipeline_bridge.server import MOST_HEAD_BYTES, BoundedProtocol, BridgeServer
from support.bridge import Bridge
from support.waiting import eventually, listens

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Peer:
    """A client's end of a connection, and the server's."""

    def __init__(self, running: BridgeServer, port: int) -> None:
        self._running = running
        self._port = port

    async def connect(self) -> None:
        await eventually(self._nobody)
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        await eventually(self._somebody)

    async def _nobody(self) -> bool:
        return not self._running.server_state.connections

    async def _somebody(self) -> bool:
        return bool(self._running.server_state.connections)

    @property
    def protocol(self) -> BoundedProtocol:
        (found,) = self._running.server_state.connections
        return cast("BoundedProtocol", found)

    async def get(self) -> bytes:
        """The status line of an answer to a whole request; the body is three bytes."""
        self.writer.write(GET)
        head = await self.reader.readuntil(b"\r\n\r\n")
        await self.reader.readexactly(3)
        return head.partition(b"\r\n")[0]

    async def is_closed(self) -> bool:
        async with asyncio.timeout(15):
            return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = BridgeServer(Bridge().app, "127.0.0.1", 0)
        task = asyncio.create_task(running.serve(sockets=[listener]))
        port = listener.getsockname()[1]
        await eventually(lambda: listens(port))
        found = Peer(running, port)
        await found.connect()
        yield found
        await found.close()
        running.should_exit = True
        await task


async def test_requests_one_after_another(peer: Peer) -> None:
    for _ in range(3):
        assert await peer.get() == b"HTTP/1.1 200 OK"
        assert peer.protocol._head_timer is None, "an idle connection is kept for as long as uvicorn keeps it"


async def test_a_connection_on_which_nothing_comes(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    await peer.close()
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.01)
    await peer.connect()
    assert await peer.is_closed()


@pytest.mark.parametrize("is_first", [True, False])
async def test_a_head_that_does_not_end(peer: Peer, monkeypatch: pytest.MonkeyPatch, is_first: bool) -> None:
    if not is_first:
        await peer.get()
    else:
        await peer.close()
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.2)
    if is_first:
        await peer.connect()
    peer.writer.write(b"GET /healthz HTTP/1.1\r\nHost:")
    assert await peer.is_closed()


async def test_a_head_that_is_too_long(peer: Peer) -> None:
    peer.writer.write(b"GET /healthz HTTP/1.1\r\nX-Long: " + b"x" * MOST_HEAD_BYTES)
    async with asyncio.timeout(15):
        answer = await peer.reader.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"more than 32768 bytes" in answer


async def test_a_path_that_is_too_long(peer: Peer) -> None:
    peer.writer.write(b"GET /" + b"x" * MOST_HEAD_BYTES)
    async with asyncio.timeout(15):
        assert (await peer.reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_many_requests_at_once_are_no_long_head(peer: Peer) -> None:
    count = MOST_HEAD_BYTES // len(GET) + 10
    peer.writer.write(GET * count)
    async with asyncio.timeout(15):
        for _ in range(count):
            assert (await peer.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
            await peer.reader.readexactly(3)


async def test_what_is_no_http(peer: Peer) -> None:
    peer.writer.write(b"\x16\x03\x01\x02\x00\x01\x00")  # a TLS client's first bytes
    async with asyncio.timeout(15):
        assert (await peer.reader.read()).startswith(b"HTTP/1.1 400 ")
