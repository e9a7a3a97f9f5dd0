"""Wakes each schedule when its next tick is due: one heap of times of the wall clock, and one task.

It sleeps by the event loop's clock, at most a second at a time, and compares by the wall clock: so one that is set, or
a machine that was asleep, is noticed within a second.
"""

import asyncio
import heapq
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

_log = structlog.get_logger(__name__)

_SLEEP_SECONDS = 1.0
# Small steps back are the work of a clock that is kept exact: nothing is decided anew for them.
_STEP_BACK = timedelta(minutes=1)
# Overtaken entries that may stay in the heap before it is made anew.
_STALE_MAX = 64


class Ticker:
    """`due` is called with each UID whose time has come, `set_back` when the clock was set back by a minute or more.

    `now` is the wall clock in UTC.
    """

    def __init__(
        self, now: Callable[[], datetime], due: Callable[[str], None], set_back: Callable[[], None] = lambda: None
    ) -> None:
        self._now = now
        self._due = due
        self._set_back = set_back
        self._at: dict[str, datetime] = {}
        self._heap: list[tuple[datetime, str]] = []
        self._seen = now()
        self._wake = asyncio.Event()

    def expects(self, uid: str) -> bool:
        """Whether the schedule is going to be woken."""
        return uid in self._at

    def set(self, uid: str, at: datetime | None) -> None:
        """Have the schedule woken at that time, instead of at any other; None: never."""
        if at is None:
            self._at.pop(uid, None)
            return
        if self._at.get(uid) == at:
            return
        self._at[uid] = at
        heapq.heappush(self._heap, (at, uid))
        if len(self._heap) > 2 * len(self._at) + _STALE_MAX:
            self._heap = [(at, uid) for uid, at in self._at.items()]
            heapq.heapify(self._heap)
        if self._heap[0] == (at, uid):
            self._wake.set()

    def tick(self) -> float:
        """Wake all that are due by now; returns in how many seconds to look again."""
        now = self._now()
        if now < self._seen - _STEP_BACK:
            _log.warning("the clock was set back", seconds=round((self._seen - now).total_seconds()))
            self._set_back()
        self._seen = now
        while self._heap:
            at, uid = self._heap[0]
            if self._at.get(uid) != at:
                heapq.heappop(self._heap)  # overtaken by another time
                continue
            if at > now:
                return min(_SLEEP_SECONDS, (at - now).total_seconds())
            heapq.heappop(self._heap)
            del self._at[uid]
            self._due(uid)
        return _SLEEP_SECONDS

    async def tick_forever(self) -> None:
        """Until cancelled."""
        while True:
            seconds = self.tick()
            self._wake.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                continue
