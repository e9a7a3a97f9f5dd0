"""A proxy before the BigQuery stand-in that makes, by a seed, the trouble that the real one makes."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from pipeline_local.services.processes import LOOPBACK
from pipeline_local.simulators.proxy import Call, Reply, forward, proxy
from pipeline_local.simulators.seeds import randomness

Kind = Literal["503", "rate-limit", "lost", "reset", "slow"]
"""The server is away; too many requests; what was asked is done, but the answer is lost, or breaks off in its middle;
the answer takes its time.
"""
SHARES: Mapping[Kind, float] = {"503": 0.05, "rate-limit": 0.05, "lost": 0.05, "reset": 0.05, "slow": 0.1}

_JSON = {"Content-Type": "application/json"}
_NAMES = re.compile(r"[^/?=&]*\d[^/?=&]*")  # parts of an address with a digit: ids of runs, jobs, datasets


def refusal(status: int, reason: str, message: str) -> Reply:
    """An error as BigQuery's REST interface writes it."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return Reply(status, json.dumps({"error": error}).encode(), _JSON)


class Manners:
    """Asks the stand-in, and adds what BigQuery does where a request comes twice. For many threads.

    A second job of one id is refused, where the stand-in would run it again; an upload that has ended gives its answer
    again, where the stand-in has forgotten it.
    """

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._jobs: set[str] = set()
        self._uploads: dict[str, Reply] = {}
        self._lock = threading.Lock()

    def ask(self, call: Call) -> Reply:
        """The answer of BigQuery, as far as it can be had."""
        if not self._is_first(job_id := _job_id(call)):
            return refusal(409, "duplicate", f"Already Exists: Job {job_id}")
        if call.method == "PUT" and call.path in self._uploads:
            return self._uploads[call.path]
        reply = forward(self._upstream, call)
        if call.method == "PUT" and "upload_id=" in call.path and reply.status == 200:
            self._uploads[call.path] = reply
        return reply

    def _is_first(self, job_id: str | None) -> bool:
        with self._lock:
            if job_id in self._jobs:
                return False
            if job_id is not None:
                self._jobs.add(job_id)
            return True


class BigQueryTrouble:
    """The proxy's address, and how often it has made each kind of trouble."""

    def __init__(
        self, upstream: str, seed: int, shares: Mapping[Kind, float], in_a_row: int, slow_seconds: float
    ) -> None:
        self.url = ""
        self.met: Counter[Kind] = Counter()
        self.requests = 0
        self._seed, self._shares = seed, dict(shares)
        self._in_a_row, self._slow_seconds = in_a_row, slow_seconds
        self._bigquery = Manners(upstream)
        self._asked: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._lock = threading.Lock()

    def handle(self, call: Call) -> Reply | None:
        """What becomes of a request. BigQuery has no readiness; who asks for that means the stand-in."""
        kind = None if call.path == "/readyz" else self._kind(call)
        if kind == "503":
            return refusal(503, "backendError", "The service is currently unavailable.")
        if kind == "rate-limit":
            return refusal(403, "rateLimitExceeded", "Exceeded rate limits: too many api requests per user per method")
        if kind == "slow":
            time.sleep(self._slow_seconds)
        reply = self._bigquery.ask(call)
        if kind == "lost":
            return None
        return Reply(reply.status, reply.body, reply.headers, is_cut=kind == "reset")

    def _kind(self, call: Call) -> Kind | None:
        # By the shape of the request and how often one of it came: the ids in it differ from run to run.
        shape = f"{call.method} {_NAMES.sub('*', call.path.partition('?')[0])}"
        with self._lock:
            self.requests += 1
            self._asked[shape] += 1
            random = randomness(self._seed, shape, self._asked[shape])
            nothing = max(0.0, 1 - sum(self._shares.values()))
            kind = random.choices((None, *self._shares), (nothing, *self._shares.values()))[0]
            if kind in (None, "slow") or self._failed[shape] >= self._in_a_row:
                self._failed[shape] = 0
                kind = kind if kind == "slow" else None
            else:
                self._failed[shape] += 1
            if kind is not None:
                self.met[kind] += 1
            return kind


@contextmanager
def trouble_before(
    upstream: str,
    *,
    seed: int,
    shares: Mapping[Kind, float] = SHARES,
    in_a_row: int = 2,
    slow_seconds: float = 0.2,
    host: str = LOOPBACK,
    port: int = 0,
) -> Iterator[BigQueryTrouble]:
    """A running proxy, on a free port of the loopback interface unless told otherwise.

    `shares` of requests meet each kind of trouble; requests of one shape fail at most `in_a_row` times running.
    """
    made = BigQueryTrouble(upstream, seed, shares, in_a_row, slow_seconds)
    with proxy(upstream, made.handle, host=host, port=port) as made.url:
        yield made


def _job_id(call: Call) -> str | None:
    """The id of the job that a request would make."""
    if call.method != "POST" or not call.path.partition("?")[0].endswith("/jobs"):
        return None
    try:
        told: Any = json.loads(call.text)
    except ValueError:
        return None  # an upload in one part, whose job stands among the data
    reference = told.get("jobReference") or {}
    return str(reference["jobId"]) if reference.get("jobId") else None
