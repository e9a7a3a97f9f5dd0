"""An HTTP server on the loopback that answers with whatever bytes a test has, and can break off as no library would."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class RawServer:
    """Gives its answers in order, the last for ever; `requests` holds the heads that came."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = answers
        self.requests: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head.decode("latin-1"))
            await self._answers[min(len(self.requests), len(self._answers)) - 1](writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # the client has gone
        finally:
            writer.close()


def answer(
    body: bytes, status: str = "200 OK", *headers: str, length: int | None = None, reset: bool = False
) -> Answer:
    """One answer; a `length` beyond the body's breaks off, by a reset of the connection if so wanted."""

    async def write(writer: asyncio.StreamWriter) -> None:
        size = f"Content-Length: {len(body) if length is None else length}"
        head = "\r\n".join((f"HTTP/1.1 {status}", size, "Connection: close", *headers))
        writer.write(head.encode() + b"\r\n\r\n" + body)
        await writer.drain()
        if reset:
            _reset(writer)

    return write


def trickle(piece: bytes) -> Answer:
    """An answer that goes on for ever, a little at a time."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    return write


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """No answer at all."""
    _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    # Lingering for no time makes closing a reset.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
