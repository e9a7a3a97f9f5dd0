"""A proxy before the BigQuery stand-in that refuses, delays or loses what a test names; the stand-in never does."""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


@dataclass
class Fault:
    """What happens to requests whose `METHOD path` and body match; `times` None is for ever.

    Kinds: `answer` with status and body instead of asking; `lose` the answer after asking; `hold` until released;
    `swallow`: never ask, and break the connection when released.
    """

    path: str
    body: str = ""
    times: int | None = 1
    status: int | None = None
    answer: Any = None
    lose: bool = False
    hold: bool = False
    swallow: bool = False
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def matches(self, line: str, body: str) -> bool:
        if self.times == 0 or not re.search(self.path, line) or not re.search(self.body, body):
            return False
        self.times = None if self.times is None else self.times - 1
        return True


def error(status: int, reason: str, message: str) -> dict[str, Any]:
    """An error as BigQuery's REST interface writes it."""
    return {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}


class FaultProxy:
    """The proxy's address, its faults, and the requests that it has seen as `METHOD path`."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.jobs: set[str] = set()
        self.url = ""
        self._lock = threading.Lock()

    def add(self, path: str, **kind: Any) -> Fault:
        """Have a fault from now on."""
        self.faults.append(Fault(path, **kind))
        return self.faults[-1]

    def handle(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes, dict[str, str]] | None:
        """The answer to one request: status, body and headers; None: the connection breaks."""
        line, text = f"{method} {path}", body.decode(errors="replace")
        with self._lock:
            self.seen.append(line)
            fault = next((each for each in self.faults if each.matches(line, text)), None)
        if fault is not None and fault.status is not None:
            fault.reached.set()
            return fault.status, json.dumps(fault.answer).encode(), {"Content-Type": "application/json"}
        if repeated := self._repeated_job(method, path, text):
            return repeated
        if fault is not None and (fault.hold or fault.swallow):
            fault.reached.set()
            fault.released.wait(30)
            if fault.swallow:
                return None
        answer = self._ask(method, path, headers, body)
        if fault is not None and fault.lose:
            fault.reached.set()
            return None
        return answer

    def _repeated_job(self, method: str, path: str, text: str) -> tuple[int, bytes, dict[str, str]] | None:
        # BigQuery refuses a second job of one id; the stand-in would run it again.
        if method != "POST" or not path.split("?")[0].endswith("/jobs"):
            return None
        job_id = json.loads(text).get("jobReference", {}).get("jobId", "")
        with self._lock:
            if job_id not in self.jobs:
                self.jobs.add(job_id)
                return None
        answer = error(409, "duplicate", f"Already Exists: Job {job_id}")
        return 409, json.dumps(answer).encode(), {"Content-Type": "application/json"}

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes, dict[str, str]]:
        kept = {name: value for name, value in headers.items() if name.lower() not in ("host", "accept-encoding")}
        request = Request(f"{self.upstream}{path}", data=body or None, headers=kept, method=method)
        try:
            with urlopen(request, timeout=60) as response:
                return response.status, response.read(), dict(response.headers)
        except HTTPError as failed:
            return failed.code, failed.read(), dict(failed.headers)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A running proxy, on a free port of the loopback interface."""
    proxy = FaultProxy(upstream)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = proxy.handle(self.command, self.path, dict(self.headers), body)
            if answer is None:
                self.close_connection = True
                return
            status, content, headers = answer
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value.replace(proxy.upstream, proxy.url))
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        for fault in proxy.faults:
            fault.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
