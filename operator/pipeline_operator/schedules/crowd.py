"""Lets ticks go first: while many are due at once, their runs are made before anything is done about those runs."""

import asyncio
from collections.abc import Callable

from pipeline_operator.queue import WorkQueue

# Nobody waits for longer than this, however many ticks there are.
_MOST_SECONDS = 3.0
_LOOK_SECONDS = 0.02


class TicksFirst:
    """`schedules` is the schedules' queue, in whose front those are whose ticks are due; `clock` counts seconds."""

    def __init__(self, schedules: WorkQueue, clock: Callable[[], float]) -> None:
        self._schedules = schedules
        self._clock = clock
        self._since: float | None = None

    def presses(self) -> bool:
        """Whether ticks wait for a worker."""
        return self._schedules.has_first()

    async def wait(self) -> None:
        """Hold the caller back while ticks wait, but for no more than a few seconds of each crowd."""
        while self.presses():
            now = self._clock()
            if self._since is None:
                self._since = now
            if now >= self._since + _MOST_SECONDS:
                return
            await asyncio.sleep(_LOOK_SECONDS)
        self._since = None
