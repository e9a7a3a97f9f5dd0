"""Limits how often a key asks, and how often an address fails to show one; each process counts for itself.

The header fields are those of draft-ietf-httpapi-ratelimit-headers: `RateLimit-Policy: "key";q=600;w=60` and
`RateLimit: "key";r=599;t=12`.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from pipeline_bridge.problems import Problem

FAILURES_PER_MINUTE = 60

_WINDOW_SECONDS = 60
# With each hit a storage looks at all that it holds for what has expired; so that this stays little, there are many.
_PARTS = 256
# An IPv6 subscriber has at least a network of this size to send from.
_IPV6_PREFIX = 64

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one more is allowed, what the caller is told of the limit, and in how many seconds there is more."""

    is_allowed: bool
    headers: Headers
    retry_after: int


class RateLimit:
    """One policy: a sliding window of a minute for each name."""

    def __init__(self, policy: str, clock: Callable[[], float] = time.time) -> None:
        self._policy = policy
        self._clock = clock
        self._limiters = tuple(SlidingWindowCounterRateLimiter(MemoryStorage()) for _ in range(_PARTS))

    async def take(self, name: str, per_minute: int) -> Verdict:
        """Count one more of this name."""
        item, limiter = _item(per_minute), self._limiters[hash(name) % _PARTS]
        is_allowed = await limiter.hit(item, name)
        stats = await limiter.get_window_stats(item, name)
        seconds = max(1, math.ceil(stats.reset_time - self._clock()))
        remaining = max(0, int(stats.remaining)) if is_allowed else 0
        told = f'"{self._policy}";r={remaining};t={seconds}'.encode()
        headers = [(b"ratelimit-policy", _policy(self._policy, per_minute)), (b"ratelimit", told)]
        return Verdict(is_allowed, headers, seconds)


def rate_limited(detail: str, verdict: Verdict) -> Problem:
    """The 429 of a verdict; its other headers are those of every answer."""
    return Problem(429, "RateLimited", detail, headers={"Retry-After": str(verdict.retry_after)})


@lru_cache(maxsize=10_000)
def client_of(host: str) -> str:
    """Whom an address stands for: of IPv6 its network, since a single host has as many addresses as it likes."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((address, _IPV6_PREFIX), strict=False).network_address)
    return host


@lru_cache(maxsize=1_000)
def _item(per_minute: int) -> RateLimitItemPerMinute:
    return RateLimitItemPerMinute(per_minute)


@lru_cache(maxsize=1_000)
def _policy(policy: str, per_minute: int) -> bytes:
    return f'"{policy}";q={per_minute};w={_WINDOW_SECONDS}'.encode()
