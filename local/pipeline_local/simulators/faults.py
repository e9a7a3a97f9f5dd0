"""Decides which requests meet which fault: by script, or by chances that depend on nothing but seed and request."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from pipeline_local.simulators.plan import HARMLESS, Kind, Plan
from pipeline_local.simulators.seeds import randomness
from pipeline_local.simulators.world import Provider

_WAY_OF_ANTHROPIC = "anthropic-ratelimit-requests-reset"
_HTML = "<html><head><title>503 Service Temporarily Unavailable</title></head><body>nginx</body></html>"


@dataclass(frozen=True)
class Fault:
    """What befalls one request: a kind, or an answer given in place of the right one."""

    kind: Kind | None = None
    status: int | None = None
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Faults:
    """The faults of a plan, with the memory of which have been met."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._seen: Counter[int] = Counter()
        self._asked: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def next(self, provider: Provider, line: str, now: datetime) -> Fault | None:
        """The fault of a request, `line` being its path and query; None: it is answered as it should be."""
        request = f"{provider} {line}"
        if (fault := self._scripted(provider, request, now)) is not None:
            return fault
        kind = self._by_chance(request)
        return None if kind is None else of_kind(kind, provider, self._plan, now)

    def _scripted(self, provider: Provider, request: str, now: datetime) -> Fault | None:
        for number, scripted in enumerate(self._plan.script):
            if not re.search(scripted.path, request):
                continue
            self._seen[number] += 1
            turn = self._seen[number] - scripted.after
            if turn < 1 or (scripted.times is not None and turn > scripted.times):
                continue
            if scripted.kind is not None:
                return of_kind(scripted.kind, provider, self._plan, now)
            return Fault(status=scripted.status, body=scripted.body, headers=scripted.headers)
        return None

    def _by_chance(self, request: str) -> Kind | None:
        # By the request and how often it was asked, not by its place among all: that is chance's where several run.
        self._asked[request] += 1
        random = randomness(self._plan.seed, request, self._asked[request])
        kinds = sorted(self._plan.faults)
        peace = 1 - sum(self._plan.faults.values())
        if not kinds or (chosen := random.random()) < peace:
            self._failed[request] = 0
            return None
        weights = [self._plan.faults[kind] for kind in kinds]
        kind = kinds[-1]
        for each, weight in zip(kinds, weights, strict=True):
            peace += weight
            if chosen < peace:
                kind = each
                break
        if kind in HARMLESS:
            self._failed[request] = 0
            return kind
        self._failed[request] += 1
        if self._failed[request] > self._plan.in_a_row:
            self._failed[request] = 0
            return None
        return kind


def of_kind(kind: Kind, provider: Provider, plan: Plan, now: datetime) -> Fault:
    """The fault of a kind, with the answer that this provider gives where the kind is one."""
    status = kind.partition("-")[0]
    if not status.isdigit():
        return Fault(kind)
    if status == "503":
        return Fault(kind, 503, _HTML, {"content-type": "text/html"})
    if status != "429":
        return Fault(kind, int(status), _error(provider, int(status)))
    return Fault(kind, 429, _error(provider, 429), _when(kind, provider, timedelta(milliseconds=plan.wait_ms), now))


def _error(provider: Provider, status: int) -> dict[str, Any]:
    if provider == "anthropic":
        kind = {429: "rate_limit_error", 529: "overloaded_error"}.get(status, "api_error")
        message = {429: "This request would exceed your rate limit.", 529: "Overloaded"}.get(status, "Internal error")
        return {"type": "error", "error": {"type": kind, "message": message}}
    kind = "requests" if status == 429 else "server_error"
    message = "Rate limit reached for requests" if status == 429 else "The server had an error while processing"
    code = "rate_limit_exceeded" if status == 429 else None
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _when(kind: Kind, provider: Provider, wait: timedelta, now: datetime) -> dict[str, str]:
    """The header that says when to ask again. Anthropic has one way of its own for it, and never Retry-After."""
    seconds = math.ceil(wait / timedelta(seconds=1))
    if kind == "429-bare":
        return {}
    if provider == "anthropic":
        return {_WAY_OF_ANTHROPIC: f"{_whole(now + wait):%Y-%m-%dT%H:%M:%SZ}"}
    match kind:
        case "429-retry-after-ms":
            return {"retry-after-ms": str(wait // timedelta(milliseconds=1)), "retry-after": str(max(1, seconds))}
        case "429-retry-after":
            return {"retry-after": str(seconds)}
        case "429-retry-after-date":
            return {"retry-after": format_datetime(_whole(now + wait).astimezone(UTC), usegmt=True)}
    return {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": duration(wait)}


def _whole(moment: datetime) -> datetime:
    return (moment + timedelta(microseconds=999_999)).replace(microsecond=0)


def duration(wait: timedelta) -> str:
    """A duration as OpenAI's headers write it: 120ms, 1.5s, 6m0s, 1h2m3s."""
    milliseconds = wait // timedelta(milliseconds=1)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    seconds = f"{rest // 1000}s" if rest % 1000 == 0 else f"{rest / 1000:g}s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds
