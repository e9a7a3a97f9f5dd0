"""A server that can break a connection in the middle of an answer, which no application can ask of its own."""

import socket
import struct
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

BREAK = "pipelines.break"
"""The extension of a request's scope that breaks its connection at once, with a reset."""
_AT_ONCE = struct.pack("ii", 1, 0)  # linger for no time: what isn't sent is thrown away, and the peer gets a reset


class BreakableProtocol(HttpToolsProtocol):
    """Puts the means to break its connection into each request's scope."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {**(self.scope.get("extensions") or {}), BREAK: {"now": self._break}}

    def _break(self) -> None:
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()


class Server(uvicorn.Server):
    """Serves on a socket that listens already, and says when it has begun to."""

    def __init__(self, app: Any) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=BreakableProtocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()
