"""Says whether this process still does its work: the event loop, the queue, and the watch's start."""

import asyncio
from collections.abc import Callable

from pipeline_operator import metrics
from pipeline_operator.queue import WorkQueue

_TICK_SECONDS = 1.0
_LAG_MAX_SECONDS = 30.0
_QUEUE_AGE_MAX_SECONDS = 300.0


class Health:
    """`now` is a monotonic clock in seconds."""

    def __init__(self, queue: WorkQueue, ready: Callable[[], bool], now: Callable[[], float]) -> None:
        self._queue = queue
        self._ready = ready
        self._now = now
        self._ticked = now()

    async def tick_forever(self) -> None:
        """Measure how late the event loop runs, and how old the queue is."""
        while True:
            before = self._now()
            await asyncio.sleep(_TICK_SECONDS)
            self._ticked = self._now()
            metrics.LOOP_LAG_SECONDS.set(max(0.0, self._ticked - before - _TICK_SECONDS))
            metrics.QUEUE_OLDEST_SECONDS.set(max(0.0, self._queue.oldest_age()))
            metrics.QUEUE_DEPTH.set(self._queue.depth())

    def healthy(self) -> str | None:
        """None, or what is wrong: then the kubelet restarts the process."""
        if (late := self._now() - self._ticked) > _LAG_MAX_SECONDS:
            return f"the event loop has not run for {late:.0f}s"
        # A long queue that moves is no fault of this process (a slow database, a burst): one that stands still is.
        if (age := min(self._queue.oldest_age(), self._queue.idle_for())) > _QUEUE_AGE_MAX_SECONDS:
            return f"no run has been worked on for {age:.0f}s, though one is due"
        return None

    def ready(self) -> str | None:
        """None, or why no work is taken."""
        return None if self._ready() else "the watches have not started"
