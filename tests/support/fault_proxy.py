"""A proxy that refuses, delays or loses what a test names; before the BigQuery stand-in, which never does."""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline_local.simulators.bigquery_trouble import Manners
from pipeline_local.simulators.proxy import Call, Reply, proxy


@dataclass
class Fault:
    """What happens to requests whose `METHOD path` and body match; `times` None is for ever.

    The first `after` of them are left in peace. Kinds: `answer` with status and body instead of asking; `lose` the
    answer after asking; `hold` until released; `swallow`: never ask, and break the connection when released; `half`:
    send half of the request's body, and break both connections when released; `change` the answer's body.
    A request that is held is asked when it is released, or with `done` before: then its answer is held.
    """

    path: str
    body: str = ""
    times: int | None = 1
    after: int = 0
    status: int | None = None
    answer: Any = None
    lose: bool = False
    hold: bool = False
    swallow: bool = False
    half: bool = False
    done: bool = False
    change: Callable[[bytes], bytes] | None = None
    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def matches(self, line: str, body: str) -> bool:
        if self.times == 0 or not re.search(self.path, line) or not re.search(self.body, body):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times = None if self.times is None else self.times - 1
        return True


def error(status: int, reason: str, message: str) -> dict[str, Any]:
    """An error as BigQuery's REST interface writes it."""
    return {"error": {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}}


class FaultProxy:
    """The proxy's address, its faults, and the requests that it has seen: as `METHOD path`, and whole as `calls`.

    `under_way` are those that have no answer yet: those of a client that was killed are carried out all the same.
    """

    def __init__(self, upstream: str) -> None:
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.calls: list[Call] = []
        self.url = ""
        self.under_way: list[str] = []
        self._upstream = upstream
        self._bigquery = Manners(upstream)
        self._lock = threading.Lock()

    def add(self, path: str, **kind: Any) -> Fault:
        """Have a fault from now on."""
        self.faults.append(Fault(path, **kind))
        return self.faults[-1]

    def handle(self, call: Call) -> Reply | None:
        """The answer to one request; None: the connection breaks."""
        with self._lock:
            self.seen.append(call.line)
            self.calls.append(call)
            self.under_way.append(call.line)
            fault = next((each for each in self.faults if each.matches(call.line, call.text)), None)
        try:
            return self._answer(call, fault)
        finally:
            with self._lock:
                self.under_way.remove(call.line)

    def _answer(self, call: Call, fault: Fault | None) -> Reply | None:
        if fault is None:
            return self._bigquery.ask(call)
        if fault.status is not None:
            fault.reached.set()
            return Reply(fault.status, json.dumps(fault.answer).encode(), {"Content-Type": "application/json"})
        if fault.half:
            self._half(fault, call)
            return None
        answer = self._bigquery.ask(call) if fault.done else None
        if fault.hold or fault.swallow:
            fault.reached.set()
            fault.released.wait(30)
            if fault.swallow:
                return None
        answer = answer or self._bigquery.ask(call)
        fault.reached.set()
        if fault.lose:
            return None
        return replace(answer, body=fault.change(answer.body)) if fault.change else answer

    def _half(self, fault: Fault, call: Call) -> None:
        # As a server sees it whose client ends in the middle of an upload.
        with closing(HTTPConnection(urlsplit(self._upstream).netloc, timeout=30)) as upstream:
            upstream.putrequest(call.method, call.path, skip_accept_encoding=True)
            for name, value in call.headers.items():
                if name.lower() not in ("host", "accept-encoding"):
                    upstream.putheader(name, value)
            upstream.endheaders(call.body[: len(call.body) // 2])
            fault.reached.set()
            fault.released.wait(30)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """A running proxy, on a free port of the loopback interface."""
    made = FaultProxy(upstream)
    with proxy(upstream, made.handle) as made.url:
        try:
            yield made
        finally:
            for fault in made.faults:
                fault.released.set()


@contextmanager
def bigquery_proxy() -> Iterator[FaultProxy]:
    """A proxy that clients of BigQuery go through which are made meanwhile; others go straight to the stand-in."""
    name = "BIGQUERY_EMULATOR_HOST"
    with fault_proxy(os.environ[name]) as made, pytest.MonkeyPatch.context() as environment:
        environment.setenv(name, made.url)
        yield made
