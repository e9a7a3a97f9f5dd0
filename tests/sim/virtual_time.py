"""An event loop without a wall clock: when nothing is left to do now, its time jumps to the next timer."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import Any

# What the wall clock of the simulated world says when it begins.
BEGINNING = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
# More than the precision of a time in seconds, and nothing against the times between events.
_APART = 1e-11


class StalledError(Exception):
    """Nothing is left that could ever happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Deterministic: callbacks run in the order in which they became due. There is no I/O, so there is no selector."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = 0.0
        self._selector = self
        self._timers = 0
        # An error in a part of the world: the simulator's own mistake.
        self.broken: BaseException | None = None

    def time(self) -> float:
        """Seconds since the world began."""
        return self._clock

    def now(self) -> datetime:
        """The wall clock of the simulated world."""
        return BEGINNING + timedelta(seconds=self._clock)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Timers of one time go off in the order in which they were set; the base class leaves that to its heap."""
        self._timers += 1
        return super().call_at(when + self._timers * _APART, callback, *args, context=context)

    def run_in_executor(self, _executor: object, work: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """Without a thread, whose time would be the machine's: done at once."""
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(work(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def select(self, timeout: float | None) -> list[object]:
        """The base class' question to a selector: wait `timeout` seconds for I/O."""
        if self.broken is not None:
            broken, self.broken = self.broken, None
            raise broken
        if timeout is None:
            raise StalledError("every task waits for another, and no timer is left")
        self._clock += timeout
        return []

    def _process_events(self, events: list[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def stamp(moment: datetime) -> str:
    """As Kubernetes writes times: to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
