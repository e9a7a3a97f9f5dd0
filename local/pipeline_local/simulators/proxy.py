"""An HTTP proxy before one server, whose owner decides about each request: forward, answer, or break."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from pipeline_local.services.processes import LOOPBACK, reached_at

_TIMEOUT_SECONDS = 60
_AT_ONCE = struct.pack("ii", 1, 0)  # linger for no time: closing sends a reset
_OWN_HEADERS = ("content-length", "transfer-encoding", "connection", "date", "server")
# an environment's proxy has no place between two servers of one machine
_opener = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Call:
    """A request as it came."""

    method: str
    path: str
    """With its query."""
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


@dataclass(frozen=True)
class Reply:
    """An answer; with `is_cut` the connection is reset in the middle of it."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    is_cut: bool = False


Decide = Callable[[Call], Reply | None]
"""What to answer a request; None: the connection is closed without an answer. Called by many threads at once."""


def forward(upstream: str, call: Call) -> Reply:
    """What the server answers."""
    kept = {name: value for name, value in call.headers.items() if name.lower() not in ("host", "accept-encoding")}
    request = Request(f"{upstream}{call.path}", data=call.body or None, headers=kept, method=call.method)  # noqa: S310
    try:
        with _opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
            return Reply(response.status, response.read(), dict(response.headers))
    except HTTPError as refused:
        with refused:
            return Reply(refused.code, refused.read(), dict(refused.headers))


@contextmanager
def proxy(upstream: str, decide: Decide, *, host: str = LOOPBACK, port: int = 0) -> Iterator[str]:
    """The address of a running proxy, on a free port unless told; in an answer's headers it stands for the server's."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if len(body) < length:  # whoever asked is gone; the server would wait for the rest
                self.close_connection = True
                return
            reply = decide(Call(self.command, self.path, dict(self.headers), body))
            if reply is None:
                self.close_connection = True
                return
            # as whoever asks has reached it, which may be by another name than this machine's
            asked_at = f"http://{self.headers['Host']}" if "Host" in self.headers else url
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                if name.lower() not in _OWN_HEADERS:
                    self.send_header(name, value.replace(upstream, asked_at))
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if reply.is_cut:
                self.wfile.write(reply.body[: len(reply.body) // 2])
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                # not shut down first, as the server does, which would end it in order
                self.connection.close()
                self.close_connection = True
            else:
                self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    url = f"http://{reached_at(host)}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
