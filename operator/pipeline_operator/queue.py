"""A work queue in the manner of Kubernetes' controllers: de-duplicated, delayed, one worker a key, with backoff.

A key that is added while it is being worked on is worked on once more afterwards, so nothing that happens meanwhile is
missed; two workers never have the same key.
"""

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable

_BACKOFF_FIRST = 0.2
_BACKOFF_MAX = 60.0
# Overtaken entries that may stay in the heap before it is made anew.
_STALE_MAX = 64
# When a key is due that goes before all others.
_FIRST = float("-inf")
# Keys being worked on at a time, from which on what can wait had better wait.
_MANY = 4
# After so many keys that go before all others comes one that has waited for so many seconds.
_IN_A_ROW = 8
_PATIENCE = 2.0


class WorkQueue:
    """Keys that are due now or later. `now` is a monotonic clock in seconds, the event loop's by default."""

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self._now: Callable[[], float] = now or asyncio.get_running_loop().time
        self._heap: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}
        # Keys that go before those in the heap, in their order, and since when.
        self._front: dict[str, float] = {}
        self._working: set[str] = set()
        self._again: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._sequence = itertools.count()
        self._wake = asyncio.Event()
        self._finished_at = self._now()
        self._given_up = False
        self._in_a_row = 0

    def depth(self) -> int:
        """How many keys are due or being worked on."""
        now = self._now()
        return len(self._working) + len(self._front) + sum(due <= now for due in self._due.values())

    def is_busy(self) -> bool:
        """Whether many keys are being worked on, or some have to wait for it."""
        return len(self._working) >= _MANY or self.oldest_age() > 0

    def has_first(self) -> bool:
        """Whether keys that go before all others wait for a worker."""
        return bool(self._front)

    def add(self, key: str, delay: float = 0.0) -> None:
        """Have `key` worked on after `delay` seconds; the earlier of two times wins."""
        due = self._now() + delay
        if key in self._working:
            self._again[key] = min(due, self._again.get(key, due))
            return
        if key in self._front or self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, next(self._sequence), key))
        if len(self._heap) > 2 * len(self._due) + _STALE_MAX:
            self._heap = [item for item in self._heap if self._due.get(item[2]) == item[0]]
            heapq.heapify(self._heap)
        self._wake.set()

    def add_first(self, key: str) -> None:
        """Have `key` worked on now, before all that is due: others wait for what it does."""
        if key in self._working:
            self._again[key] = _FIRST
        elif key not in self._front:
            self._due.pop(key, None)
            self._front[key] = self._now()
            self._wake.set()

    async def get(self) -> str:
        """Wait for the next due key and mark it as being worked on; `done` or `failed` must follow. One caller only."""
        while True:
            for key in self._front:
                if self._in_a_row >= _IN_A_ROW and self._is_patience_over():
                    break
                self._in_a_row += 1
                del self._front[key]
                self._working.add(key)
                return key
            delay = next((due - self._now() for due in self._first_due()), None)
            if delay is not None and delay <= 0:
                _, _, key = heapq.heappop(self._heap)
                del self._due[key]
                self._in_a_row = 0
                self._working.add(key)
                return key
            self._wake.clear()
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with what it waits
                # for, and a process that has lost its leadership would work on.
                async with asyncio.timeout(delay):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def done(self, key: str, again_in: float | None = None) -> None:
        """The work on `key` succeeded; `again_in` seconds it is due again by itself."""
        self._failures.pop(key, None)
        self._finish()
        self._release(key, again_in)

    def failed(self, key: str, *, given_up: bool = False) -> float:
        """The work on `key` failed: it is due again after a backoff, whose seconds are returned.

        `given_up` says that it was never finished, but taken from its worker.
        """
        if given_up:
            self._given_up = True
        else:
            self._finish()
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        backoff = min(_BACKOFF_MAX, _BACKOFF_FIRST * 2.0 ** min(failures - 1, 16))
        backoff *= random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, keeps no secret
        # News that came meanwhile doesn't cut the backoff short: it would fail again.
        self._again.pop(key, None)
        self._release(key, backoff)
        return backoff

    def oldest_age(self) -> float:
        """How long, in seconds, the most overdue key has been waiting for a worker; 0 if none is."""
        since = [*itertools.islice(self._front.values(), 1), *self._first_due()]
        return max(0.0, self._now() - min(since)) if since else 0.0

    def stands_still_for(self) -> float:
        """How long, in seconds, no work has been finished though some was due, or was given up: that is no progress."""
        unfinished = self._now() - self._finished_at
        return unfinished if self._given_up else min(self.oldest_age(), unfinished)

    def _first_due(self) -> list[float]:
        """When the first key of the heap is due; empty without one."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # overtaken by an earlier time
        return [self._heap[0][0]] if self._heap else []

    def _is_patience_over(self) -> bool:
        return any(due <= self._now() - _PATIENCE for due in self._first_due())

    def _finish(self) -> None:
        self._finished_at, self._given_up = self._now(), False

    def _release(self, key: str, again_in: float | None) -> None:
        self._working.discard(key)
        again = self._again.pop(key, None)
        if again == _FIRST:
            self.add_first(key)
        elif again is not None:
            self.add(key, max(0.0, again - self._now()))
        if again_in is not None:
            self.add(key, again_in)
