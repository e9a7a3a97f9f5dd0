"""Counts the open connections of each client address, so that no single one takes those of a process."""

import ipaddress
import os
import time
from collections import Counter

import structlog

from pipeline_bridge import metrics
from pipeline_bridge.limiting import client_of

_log = structlog.get_logger(__name__)

# Whose X-Forwarded-For is believed, as uvicorn reads it; nobody's where it isn't set.
TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"

# From one warning to the next: they come by the thousands.
_WARN_SECONDS = 60.0

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Connections:
    """At most `most` at a time, and `most_each` from one address. Proxies that are trusted have no limit of their own:
    they speak for many clients."""

    def __init__(self, most: int, most_each: int, trusted: str | None = None) -> None:
        self._most = most
        self._most_each = most_each
        self._trusted = os.environ.get(TRUSTED_PROXIES, "") if trusted is None else trusted
        self._networks = [network for each in self._trusted.split(",") if (network := _network(each.strip()))]
        self._open: Counter[str] = Counter()
        self._count = 0
        self._warns_at = float("-inf")

    def enter(self, host: str | None) -> str | None:
        """Count one more; what to leave with, or None where it is one too many."""
        name = "" if host is None or self._is_trusted(host) else client_of(host)
        if self._count >= self._most or (name and self._open[name] >= self._most_each):
            metrics.REFUSED_CONNECTIONS.inc()
            self._warn(host, self._open[name])
            return None
        self._count += 1
        self._open[name] += 1
        return name

    def leave(self, name: str) -> None:
        """Count one less."""
        self._count -= 1
        self._open[name] -= 1
        if not self._open[name]:
            del self._open[name]

    def _warn(self, host: str | None, open_of_client: int) -> None:
        if (now := time.monotonic()) >= self._warns_at:
            self._warns_at = now + _WARN_SECONDS
            _log.warning("too many connections", client=host, open=open_of_client, open_of_all=self._count)

    def _is_trusted(self, host: str) -> bool:
        if not self._trusted:
            return False
        if self._trusted == "*":
            return True
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _network(text: str) -> _Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None  # a name, which uvicorn believes only where the peer has no address
