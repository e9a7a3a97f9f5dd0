"""The HTTP server: uvicorn with httptools, told to stop from outside, and with limits for clients that dawdle."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from pipeline_bridge.connections import TRUSTED_PROXIES, Connections

# Of a request's line and headers, all together; and of what follows that is no body, in one piece.
MOST_HEAD_BYTES = 32 * 1024
# To send them in, from a connection's beginning or a request's first byte on.
_HEAD_SECONDS = 20.0
# To send the rest of a request in that is answered already; what comes is thrown away. A client that sends all of a
# short request before it reads the answer isn't cut off from it.
_REST_SECONDS = 1.0
# Idle connections are kept longer than proxies in front of the bridge keep them (60 s is usual), so that none sends a
# request into a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 75
# Requests on more of them are answered with a 503; a tenth more, and they are closed unread.
_MOST_CONNECTIONS = 2_000
_STOP_SECONDS = 10
# A client that went without a word, as one whose host lost power, is noticed after two minutes of silence.
_PROBES = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose next request doesn't come to the end of its headers, in time and in so many bytes; whose
    body is followed by too much else; whose request goes on after its answer; or that is one too many.

    The parser itself has no bounds: a header or a trailer that never ends would fill the memory.
    """

    def __init__(self, *arguments: Any, open_connections: Connections, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._open_connections = open_connections
        self._counted_as: str | None = None
        # Since the head's beginning, or within a body since its last byte.
        self._bytes_beside_body = 0
        self._is_in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is open."""
        super().connection_made(transport)
        self._counted_as = self._open_connections.enter(self.client and self.client[0])
        if self._counted_as is None:
            transport.abort()
        else:
            self._head_begins()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        if self._counted_as is not None:
            self._open_connections.leave(self._counted_as)
        self._head_ends()
        self._rest_ends()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; those of bodies are the application's to count."""
        if self._is_in_head and self._head_timer is None:
            self._head_begins()
        self._bytes_beside_body += len(data)
        super().data_received(data)
        if self._bytes_beside_body > MOST_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_bytes()

    def on_headers_complete(self) -> None:
        """The head is there; a body is up to the application."""
        self._is_in_head, self._bytes_beside_body = False, 0
        self._head_ends()
        super().on_headers_complete()
        # Trailers, which come after the body, are thrown away and no headers (RFC 9110, 6.5.1).
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        # What came with it, before or after, is bounded by what is read in one go.
        self._bytes_beside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """What comes next is another request's head."""
        self._is_in_head, self._bytes_beside_body = True, 0
        self._rest_ends()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is sent; the request it belongs to may not have come to its end."""
        super().on_response_complete()
        if not self._is_in_head and self.cycle.response_complete and not self.transport.is_closing():
            self._rest_timer = self.loop.call_later(_REST_SECONDS, self._give_up)

    def _refuse_bytes(self) -> None:
        if self._is_in_head:
            self.send_400_response(f"The request's line and headers have more than {MOST_HEAD_BYTES} bytes")
        elif self.cycle.response_started:
            self.transport.close()  # in the middle of an answer another can't begin
        else:
            self.send_400_response(f"More than {MOST_HEAD_BYTES} bytes follow the body, or stand between its chunks")

    def _head_begins(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _head_ends(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _rest_ends(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _give_up(self) -> None:
        self._head_timer = self._rest_timer = None
        if not self.transport.is_closing():
            self.transport.close()


class BridgeServer(uvicorn.Server):
    """Leaves signals to its caller, who sets `should_exit`; `serve` ends once all answers have, or at most ten seconds
    later. One client address has at most `connections_each` open connections."""

    def __init__(self, app: ASGIApp, host: str, port: int, *, connections_each: int = _MOST_CONNECTIONS // 4) -> None:
        connections = Connections(_MOST_CONNECTIONS * 11 // 10, connections_each)
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=cast("type[asyncio.Protocol]", partial(BoundedProtocol, open_connections=connections)),
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=TRUSTED_PROXIES in os.environ,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. Connections inherit from the listener that the system looks whether their client is still there."""
        await super().startup(sockets)
        for server in self.servers:
            for listener in server.sockets:
                for option in _PROBES:
                    listener.setsockopt(*option)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
