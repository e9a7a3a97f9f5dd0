"""A client that asks as fast as it is answered, on so many connections; a process of its own, so that it is no part of
what it measures.

Reads a `Load` as JSON from its standard input, since a key may be in it, and writes a `Round` to its standard output.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import quantiles

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_STATUS = slice(9, 12)  # of "HTTP/1.1 200 OK"
_GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Load:
    """Whole requests, of which each is picked at random; a second `seed` picks others."""

    port: int
    connections: int
    seconds: float
    requests: list[str]
    seed: int = 0


@dataclass(frozen=True)
class Round:
    """What came of it: answers a second, milliseconds, and the client's own share of a core."""

    rate: float
    p50: float
    p99: float
    client_cpu: float
    refused: dict[str, int]
    """How often an answer had another status than 200, by status."""


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last is complete."""

    def __init__(self, pick: Callable[[], bytes], until: float) -> None:
        self._pick, self._until = pick, until
        self._unread = b""
        self.took: list[float] = []
        self.statuses: dict[bytes, int] = {}
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        answer = self._unread + data
        head = answer.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(answer, 0, head) if head > 3 else None
        if length is None or len(answer) < head + int(length[1]):
            self._unread = answer
            return
        self._unread = b""
        now = time.perf_counter()
        self.took.append(now - self._asked)
        status = answer[_STATUS]
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if now < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            lost = None if time.perf_counter() >= self._until else ConnectionError("the server closed the connection")
            self.over.set_result(None) if lost is None else self.over.set_exception(exc or lost)

    def _send(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._pick())


async def ask(load: Load) -> Round:
    """Ask for that long. Raises OSError where the server isn't there or closes a connection."""
    requests = [each.encode("latin-1") for each in load.requests]
    choose = random.Random(load.seed)
    pick = (lambda: requests[0]) if len(requests) == 1 else (lambda: requests[int(choose.random() * len(requests))])
    loop, began, spent = asyncio.get_running_loop(), time.perf_counter(), time.process_time()
    connections = [_Connection(pick, began + load.seconds) for _ in range(load.connections)]
    async with asyncio.timeout(load.seconds + _GRACE_SECONDS):
        for each in connections:
            await loop.create_connection(lambda each=each: each, "127.0.0.1", load.port)  # type: ignore[misc]
        await asyncio.gather(*(each.over for each in connections))
    seconds = time.perf_counter() - began
    cuts = quantiles([1000 * each for connection in connections for each in connection.took], n=100)
    statuses: dict[str, int] = {}
    for connection in connections:
        for status, count in connection.statuses.items():
            statuses[status.decode()] = statuses.get(status.decode(), 0) + count
    refused = {status: count for status, count in statuses.items() if status != "200"}
    answers = sum(statuses.values())
    return Round(answers / seconds, cuts[49], cuts[98], (time.process_time() - spent) / seconds, refused)


if __name__ == "__main__":
    json.dump(asdict(uvloop.run(ask(Load(**json.load(sys.stdin))))), sys.stdout)
