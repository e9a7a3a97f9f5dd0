"""The HTTP server: uvicorn with httptools, told to stop from outside, and with limits for clients that dawdle."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Of a request's line and headers, all together.
MOST_HEAD_BYTES = 32 * 1024
# To send them in, from a connection's beginning or a request's first byte on.
_HEAD_SECONDS = 20.0
# Idle connections are kept longer than proxies in front of the bridge keep them (60 s is usual), so that none sends a
# request into a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 75
_MOST_CONNECTIONS = 2_000
_STOP_SECONDS = 10
# Whose X-Forwarded-For is believed, as uvicorn reads it; nobody's where it isn't set.
_TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose next request doesn't come to the end of its headers, in time and in so many bytes.

    The parser itself has no bounds: a header that never ends would fill the memory.
    """

    _head_bytes = 0
    _is_in_head = True
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is open."""
        super().connection_made(transport)
        self._head_begins()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed."""
        self._head_ends()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; only those of heads count."""
        if self._is_in_head:
            if self._head_timer is None:
                self._head_begins()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"The request's line and headers have more than {MOST_HEAD_BYTES} bytes")

    def on_headers_complete(self) -> None:
        """The head is there; a body is up to the application."""
        self._is_in_head = False
        self._head_ends()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """What comes next is another request's head."""
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def _head_begins(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._give_up)

    def _head_ends(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()


class BridgeServer(uvicorn.Server):
    """Leaves signals to its caller, who sets `should_exit`; `serve` ends once all answers have, or at most ten seconds
    later."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                http=BoundedProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=_TRUSTED_PROXIES in os.environ,
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield
