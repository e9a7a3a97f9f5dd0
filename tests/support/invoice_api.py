"""The API that docs/adding-a-processor.md makes up: invoice lines by day, in small pages, behind a key."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KEY = "hostly-key-0123456789"
_PAGE = 3


def line(number: int, day: str, amount: str, **more: Any) -> dict[str, Any]:
    """A line as the API writes it."""
    return {
        "id": f"line_{number}",
        "invoice": f"inv_{day[:7].replace('-', '_')}",
        "day": day,
        "product": {"name": "VM large"},
        "quantity": 24,
        "total": {"value": amount, "currency": "USD"},
        **more,
    }


class InvoiceApi:
    """The server's state: what it tells, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.lines: list[dict[str, Any]] = []
        self.refusals = 0  # so many requests are answered 429 first
        self.queries: list[dict[str, str]] = []

    def answer(self, path: str, key: str | None) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Status, body and headers."""
        url = urlsplit(path)
        query = dict(parse_qsl(url.query))
        if key != f"Bearer {KEY}":
            return 401, {"error": "unknown key"}, {}
        if url.path != "/v1/invoice-lines":
            return 404, {"error": "no such path"}, {}
        if self.refusals:
            self.refusals -= 1
            return 429, {"error": "slow down"}, {"Retry-After": "0"}
        self.queries.append(query)
        found = [each for each in self.lines if query["from"] <= each["day"] <= query["to"]]
        start = int(query.get("cursor", "0"))
        body: dict[str, Any] = {"lines": found[start : start + _PAGE], "total": len(found)}
        if start + _PAGE < len(found):
            body["next_cursor"] = str(start + _PAGE)
        return 200, body, {}


@contextmanager
def invoice_api() -> Iterator[InvoiceApi]:
    """Serve it on a free port of the loopback interface."""
    api = InvoiceApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body, headers = api.answer(self.path, self.headers.get("Authorization"))
            content = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Type": "application/json"}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
