"""A proxy that refuses, delays or loses what a test names; before the BigQuery stand-in, which never does."""

import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline_local.simulators.bigquery_trouble import Manners
from pipeline_local.simulators.proxy import Call, Reply, proxy


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
        self.faults: list[Fault] = []
        self.seen: list[str] = []
        self.url = ""
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
            fault = next((each for each in self.faults if each.matches(call.line, call.text)), None)
        if fault is not None and fault.status is not None:
            fault.reached.set()
            return Reply(fault.status, json.dumps(fault.answer).encode(), {"Content-Type": "application/json"})
        if fault is not None and (fault.hold or fault.swallow):
            fault.reached.set()
            fault.released.wait(30)
            if fault.swallow:
                return None
        answer = self._bigquery.ask(call)
        if fault is not None and fault.lose:
            fault.reached.set()
            return None
        return answer


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
