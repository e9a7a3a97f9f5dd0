"""Runs whose runner is killed or stopped at one request: where, in which way, and what it may leave behind."""

import asyncio
import json
import re
import signal
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline_core.outcome import Outcome
from pipeline_core.run_document import RunDocument
from support.fault_proxy import Fault, FaultProxy
from support.runner_process import kill_at, start

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet

UNSENT, DONE, HALF = "unsent", "done", "half sent"
WAYS: Mapping[str, Mapping[str, Any]] = {
    UNSENT: {"hold": True},  # the request is never sent
    DONE: {"hold": True, "done": True},  # it is carried out, and the answer is lost
    HALF: {"half": True},  # the server gets half of its body
}
_STAGED = re.compile(r"TABLE `[^`]*\.(_staging_\w+)`\s+OPTIONS \(expiration_timestamp = TIMESTAMP '([^']+)'")


@dataclass(frozen=True)
class At:
    """A request, by its `METHOD path` and its body; the first `after` of them aren't meant."""

    path: str
    body: str = ""
    after: int = 0

    def fault(self, proxy: FaultProxy, way: str) -> Fault:
        """Hold this request in one of WAYS."""
        return proxy.add(self.path, body=self.body, after=self.after, **WAYS[way])


def each_way(points: Mapping[str, At], smoke: Collection[tuple[str, str]]) -> "list[ParameterSet]":
    """The points, unsent and done, and half sent where it is an upload; all but `smoke` for `make test-full`."""
    return [
        pytest.param(name, way, marks=() if (name, way) in smoke else pytest.mark.full, id=f"{name}, {way}")
        for name, at in points.items()
        for way in (WAYS if at.path.startswith("PUT") else (UNSENT, DONE))
    ]


async def killed_at(at: At, proxy: FaultProxy, way: str, document: RunDocument, folder: Path) -> None:
    """Run the document, and kill its runner there; returns when what it had asked for beside that is over, too."""
    assert await kill_at(at.fault(proxy, way), document, folder)
    await over(proxy)


async def over(proxy: FaultProxy) -> None:
    """Wait until no request is under way: a server carries out what a runner had asked for that is gone."""

    deadline = time.monotonic() + 15
    while left := list(proxy.under_way):
        assert time.monotonic() < deadline, f"still under way: {left}"
        await asyncio.sleep(0.02)


async def stopped_at(at: At, proxy: FaultProxy, way: str, document: RunDocument, folder: Path) -> tuple[Outcome, int]:
    """Run the document, and tell its runner to stop at this request, which then goes on.

    The outcome that it left, and its exit code.
    """
    fault = at.fault(proxy, way)
    process = await start(document, folder)
    try:
        assert await asyncio.to_thread(fault.reached.wait, 60)
        process.send_signal(signal.SIGTERM)
        fault.released.set()
        code = await asyncio.wait_for(process.wait(), 15)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    outcome = Outcome.from_message((folder / "log").read_text())
    assert outcome is not None
    await over(proxy)
    return outcome, code


def leaves_only_what_expires(tables: Collection[str], proxy: FaultProxy) -> None:
    """Assert that the staging tables among `tables` were asked for with an end within 24 hours.

    By the requests that made them: the stand-in keeps no expiration.
    """
    expires, now = dict(_expirations(proxy)), datetime.now(UTC)
    left = {name for name in tables if name.startswith("_staging")}
    assert left <= expires.keys()
    for name in left:
        assert timedelta(hours=23, minutes=50) < expires[name] - now <= timedelta(hours=24), name


def statements(proxy: FaultProxy, pattern: str) -> list[str]:
    """The SQL of the jobs that were asked for and match."""
    return [sql for sql in _queries(proxy) if re.search(pattern, sql)]


def spoilt(page: bytes) -> bytes:
    """A provider's page of costs with one more result in each bucket that has any: in a currency's name, not code.

    All that it had stands there as before, if its amounts are strings.
    """
    told = json.loads(page, parse_float=_no_float)
    for results in (bucket["results"] for bucket in told["data"] if bucket["results"]):
        bad = dict(results[0])
        if isinstance(bad["amount"], dict):
            bad["amount"] = bad["amount"] | {"currency": "euros"}
        else:
            bad["currency"] = "euros"
        results.append(bad)
    return json.dumps(told).encode()


def _no_float(text: str) -> Decimal:
    raise AssertionError(f"an amount that isn't a string would be written anew: {text}")


def _expirations(proxy: FaultProxy) -> Iterator[tuple[str, datetime]]:
    """The staging tables that were asked for, and when they are to expire."""
    for call in list(proxy.calls):
        if re.fullmatch(r"POST .*/datasets/\w+/tables(\?.*)?", call.line):
            table = json.loads(call.text)
            if (name := table["tableReference"]["tableId"]).startswith("_staging"):
                yield name, datetime.fromtimestamp(int(table["expirationTime"]) / 1000, UTC)
    for sql in _queries(proxy):
        for name, moment in _STAGED.findall(sql):
            yield name, datetime.fromisoformat(moment).astimezone(UTC)


def _queries(proxy: FaultProxy) -> Iterator[str]:
    for call in list(proxy.calls):
        if call.method == "POST" and re.search(r"/(jobs|queries)(\?.*)?$", call.path) and "/upload/" not in call.path:
            told = json.loads(call.text)
            query = told.get("configuration", {}).get("query", told).get("query")
            if query:
                yield query
