"""`/healthz`, `/readyz` and `/metrics` on a port of their own, which no proxy leads to, and in threads of their own.

So neither clients that take all connections nor a busy event loop keep probes from an answer; that the loop runs is
part of it.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_BEAT_SECONDS = 1.0
# A loop that has not run for so long is stuck: nothing that it does takes nearly as long.
_STUCK_SECONDS = 5.0
# For a client to send its request in, and to take the answer, from one packet to the next.
_CLIENT_SECONDS = 5.0

# Says what is wrong, or None when nothing is.
Check = Callable[[], str | None]


class Heartbeat:
    """Whether the event loop runs: it beats there, and any thread can ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    async def beat_forever(self, every: float = _BEAT_SECONDS) -> None:
        """Beat once a second."""
        while True:
            self._last = self._clock()
            await asyncio.sleep(every)

    def wrong(self) -> str | None:
        """What is wrong in a word; None while the loop runs."""
        return "stuck" if self._clock() - self._last > _STUCK_SECONDS else None


class Probes:
    """Serves from its making on until it is closed. `ready` is called in other threads than its caller's.

    Raises OSError where the port is taken.
    """

    def __init__(self, host: str, port: int, *, healthy: Check, ready: Check) -> None:
        checks: dict[str, Check] = {"/healthz": healthy, "/readyz": lambda: healthy() or ready()}
        metrics: WSGIApplication = make_wsgi_app()

        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            check = checks.get(environ["PATH_INFO"])
            if check is None:
                return metrics(environ, start_response)
            wrong = check()
            status = "503 Service Unavailable" if wrong else "200 OK"
            start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
            return [f"{wrong or 'ok'}\n".encode()]

        kind = _ServerOfIPv6 if ":" in host else ThreadingWSGIServer
        self._server = make_server(host, port, answer, kind, _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _ServerOfIPv6(ThreadingWSGIServer):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = _CLIENT_SECONDS

    def log_message(self, *_: object) -> None:
        """Log nothing: probes and scrapes would drown the rest."""
