"""Randomness that depends on nothing but its names, and how traffic lies over hours and weekdays."""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache

# Shares of the busiest hour, UTC: quiet nights, a rise in the morning, a dip at noon.
_HOURS = (2, 1, 1, 1, 2, 4, 12, 28, 62, 88, 97, 90, 74, 86, 100, 98, 87, 66, 44, 31, 22, 14, 8, 4)
_WEEKEND = 0.35
_EMPTY_SHARE = 0.1

Value = str | bool | None


@dataclass(frozen=True, slots=True)
class Line:
    """What one workload used, or cost, in one minute of a day: the finest grain there is."""

    minute: int
    """Of the day, UTC: 0 to 1439."""
    dimensions: Mapping[str, Value]
    measures: Mapping[str, Decimal]


Lines = Mapping[str, Sequence[Line]]
"""The lines of a day by table: `costs`, and the name of each usage endpoint."""


def randomness(*names: object) -> random.Random:
    """A generator that gives the same numbers for the same names, in every process and on every machine."""
    text = "\x1f".join(map(str, names))
    return random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - not for secrets


def identifier(prefix: str, *names: object, length: int = 24) -> str:
    """An id as the providers write them: a prefix and letters that mean nothing."""
    text = "\x1f".join(map(str, names))
    return prefix + hashlib.sha256(text.encode()).hexdigest()[:length]


def organization(seed: int, provider: str, key: str) -> str:
    """Whose data a key sees: another key, another organization."""
    return identifier("org-", seed, provider, key)


def busy_hours(day: date, requests: int, random: random.Random) -> Iterator[tuple[int, int]]:
    """The hours of a day in which a workload makes requests, and how many; `requests` is for the busiest hour."""
    for hour in range(24):
        share = _traffic(day, hour) * random.uniform(0.4, 1.2)
        if share >= 0.05:
            yield hour, max(1, round(requests * share))


def _traffic(day: date, hour: int) -> float:
    """The share of the busiest hour's traffic, from 0 to 1: lower at night and on weekends."""
    return _HOURS[hour] / 100 * (_WEEKEND if day.weekday() >= 5 else 1)


@lru_cache(maxsize=8192)
def is_empty(org: str, day: date) -> bool:
    """Whether nothing at all was used on this day: about one day in ten."""
    return randomness(org, "empty", day).random() < _EMPTY_SHARE


@lru_cache(maxsize=8192)
def discount(org: str, item: str) -> Decimal:
    """What an organization pays of an item's list price: what is paid doesn't follow from usage and list prices.

    It has more decimals than a cent.
    """
    return 1 - Decimal(randomness(org, "discount", item).randrange(0, 90_000)).scaleb(-6)
