"""Operating-system processes in one event loop: killed at any await they never run again, not even a `finally`.

Every task that is started in a process belongs to it. Its steps pass through `_Steps`, which holds them back while the
process is frozen (SIGSTOP), and for ever once it is killed (SIGKILL).
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

_current: ContextVar["Process | None"] = ContextVar("process", default=None)


class Process:
    """What is spawned in it, and whatever that spawns, lives and dies with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        # Kills at a call: the number of calls still to be made, and whether the last one still takes effect.
        self.doom: tuple[int, bool] | None = None
        # Dies once it has given a run up, before it can stop the Job that is left.
        self.doomed_by_giving_up = False
        self.killed: Callable[[], None] = lambda: None
        self._thawed: list[asyncio.Future[None]] = []
        self._steps: list[_Steps] = []

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Run it as a task of this process."""
        context = copy_context()
        context.run(_current.set, self)
        return asyncio.get_running_loop().create_task(coroutine, context=context)

    def kill(self) -> None:
        """SIGKILL: nothing of it ever runs again."""
        if self.alive:
            self.alive = False
            self.killed()

    def freeze(self) -> None:
        """SIGSTOP: nothing of it runs until it is thawed."""
        self.frozen = True

    def thaw(self) -> None:
        """SIGCONT."""
        self.frozen = False
        thawed, self._thawed = self._thawed, []
        for waiter in thawed:
            if not waiter.done():
                waiter.set_result(None)

    def call(self) -> bool:
        """Count a call that is about to be made; returns whether the process dies once that has taken effect."""
        if self.doom is None:
            return False
        left, takes_effect = self.doom
        self.doom = (left - 1, takes_effect) if left > 1 else None
        if left > 1:
            return False
        if not takes_effect:
            self.kill()
        return takes_effect

    def bury(self) -> None:
        """After the end of the world: take the coroutines apart, so that none complains when it is collected."""
        self.alive = False
        for steps in self._steps:
            with contextlib.suppress(BaseException):
                steps.inner.close()

    def _hold(self) -> "asyncio.Future[None]":
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.alive:
            self._thawed.append(waiter)
        # What a task expects of something that it is to wait for.
        waiter._asyncio_future_blocking = True
        return waiter


class _Steps(Coroutine[Any, Any, Any]):
    """A coroutine whose next step waits until its process may run."""

    def __init__(self, process: Process, inner: Coroutine[Any, Any, Any]) -> None:
        self.inner = inner
        self._process = process
        self._thrown: BaseException | None = None
        process._steps.append(self)

    def send(self, value: Any) -> Any:
        if self._process.frozen or not self._process.alive:
            return self._process._hold()
        if self._thrown is not None:
            thrown, self._thrown = self._thrown, None
            return self.inner.throw(thrown)
        return self.inner.send(value)

    def throw(self, *error: Any) -> Any:
        if self._process.frozen or not self._process.alive:
            self._thrown = error[0]
            return self._process._hold()
        return self.inner.throw(*error)

    def close(self) -> None:
        """Never: a killed process has no last words. `Process.bury` takes it apart."""

    def __await__(self) -> Any:
        raise TypeError("only a task steps through it")


def task_factory(loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None) -> Any:
    """Tasks that belong to the process in whose context they are made."""
    process = (context or copy_context()).get(_current)
    steps = coroutine if process is None else _Steps(process, coroutine)
    return asyncio.Task(steps, loop=loop, context=context)
