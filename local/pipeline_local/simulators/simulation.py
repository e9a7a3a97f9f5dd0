"""The state of the simulators: the world, the plan with its faults, and a log of the requests that came."""

import re
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline_local.simulators.answers import Answer
from pipeline_local.simulators.faults import Fault, Faults
from pipeline_local.simulators.plan import Plan
from pipeline_local.simulators.world import Provider, World, wall_clock

_KEPT = 10_000
_SECRET_HEADERS = ("authorization", "x-api-key", "cookie", "proxy-authorization")
_KEY = re.compile(r"sk-[A-Za-z0-9_-]+")


@dataclass(eq=False)
class Seen:
    """A request that came, and how it went: secrets are left out of its headers and its query."""

    provider: Provider
    path: str
    query: str
    headers: Mapping[str, str]
    at: datetime
    at_once: int
    """How many requests of the provider were under way with it, itself included."""
    status: int | None = None
    """None: the connection was broken, or it is under way."""
    fault: str | None = None


@dataclass
class _Traffic:
    count: int = 0
    under_way: int = 0
    at_most: int = 0


class Simulation:
    """Used by the server's thread; a plan may be given from any other, since it is replaced as a whole."""

    def __init__(self, seed: int, plan: Plan | None = None, now: Callable[[], datetime] = wall_clock) -> None:
        self.seed = seed
        self.world = World(seed, plan or Plan(), now)
        self._faults = Faults(self.plan)
        self.written: dict[object, tuple[Answer, bytes]] = {}
        """Answers that may be given again while the plan stays, so that a benchmark measures its client."""
        self._log: deque[Seen] = deque(maxlen=_KEPT)
        self._traffic: dict[Provider, _Traffic] = {"openai": _Traffic(), "anthropic": _Traffic()}

    @property
    def plan(self) -> Plan:
        return self.world.plan

    def follow(self, plan: Plan) -> None:
        """Have another plan from the next request on; scripts begin anew."""
        self.world.plan = plan
        self._faults = Faults(plan)
        self.written = {}

    def reset(self) -> None:
        """Back to plain good service and an empty log."""
        self.follow(Plan())
        self._log.clear()
        for traffic in self._traffic.values():
            traffic.count, traffic.at_most = 0, traffic.under_way

    def fault(self, provider: Provider, path: str, query: str) -> Fault | None:
        return self._faults.next(provider, f"{path}?{query}" if query else path, self.world.now())

    def begin(self, provider: Provider, path: str, query: str, headers: Mapping[str, str]) -> Seen:
        """Note a request that came; `end` must follow."""
        traffic = self._traffic[provider]
        traffic.count += 1
        traffic.under_way += 1
        traffic.at_most = max(traffic.at_most, traffic.under_way)
        shown = {name: "(secret)" if name in _SECRET_HEADERS else value for name, value in headers.items()}
        seen = Seen(provider, path, _KEY.sub("(secret)", query), shown, self.world.now(), traffic.under_way)
        self._log.append(seen)
        return seen

    def end(self, seen: Seen) -> None:
        self._traffic[seen.provider].under_way -= 1

    @property
    def requests(self) -> list[Seen]:
        """The last ones, in the order in which they came."""
        return list(self._log)

    def told(self) -> dict[str, Any]:
        """The log as a document: by provider the number of all requests and how many were under way at most at once."""
        counts: dict[str, Any] = {
            provider: {"count": traffic.count, "max_concurrency": traffic.at_most}
            for provider, traffic in self._traffic.items()
        }
        return {**counts, "requests": [_document(seen) for seen in self._log]}


def _document(seen: Seen) -> dict[str, Any]:
    return {**vars(seen), "at": seen.at.isoformat()}
