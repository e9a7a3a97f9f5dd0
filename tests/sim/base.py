"""What any simulated world is made of: its loop with the tasks that run in it, and the processes of operators."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextvars import copy_context
from random import Random
from typing import Any

from sim import processes
from sim.processes import Process
from sim.trace import Trace
from sim.virtual_time import VirtualLoop


class BaseWorld:
    """A world's time, its chance and its trace. Its own tasks belong to no process, whoever's call makes them."""

    def __init__(self, loop: VirtualLoop, seed: int) -> None:
        self.loop: Any = loop
        self.random = Random(f"world {seed}")
        self.trace = Trace()
        self._context = copy_context()
        self._tasks: set[asyncio.Task[Any]] = set()
        loop.set_task_factory(processes.task_factory)

    def note(self, who: str, about: str, text: str) -> None:
        """A line of the trace."""
        self.trace.add(self.loop.time(), who, about, text)

    def later(self, delay: float, do: Callable[..., object], *arguments: object) -> None:
        """Something that happens in the world after `delay` seconds, whoever has caused it."""
        self.loop.call_later(delay, do, *arguments, context=self._context)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """A task of the world; what it raises is the simulator's own mistake."""
        task: asyncio.Task[Any] = self.loop.create_task(coroutine, context=self._context)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def latency(self) -> float:
        """How long a message takes, in seconds."""
        return self.random.uniform(0.001, 0.02)

    def take_apart(self, running: Iterable[Process]) -> None:
        """End all that is left, quietly: nothing of it may run while it is collected."""
        self.loop.set_exception_handler(lambda _loop, _context: None)
        for process in running:
            process.bury()
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def _finished(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.broken = error


class BaseInstance:
    """One process and the operator in it."""

    def __init__(self, world: BaseWorld, process: Process) -> None:
        self._world: Any = world
        self.process = process
        self.ended: asyncio.Future[BaseException | None] = world.loop.create_future()
        process.killed = lambda: world.later(0.0, self._end, None)

    def start(self) -> None:
        """Run until it ends by itself or is killed."""
        self._world.note(self.process.name, "", "starts")
        self.process.spawn(self._run())

    async def work(self) -> None:
        """What the operator does."""
        raise NotImplementedError

    async def _run(self) -> None:
        try:
            await self.work()
        except BaseException as error:
            self._end(error)
        else:
            self._end(RuntimeError("returned"))

    def _end(self, error: BaseException | None) -> None:
        if not self.ended.done():
            self._world.note(self.process.name, "", f"ended: {error!r}" if error else "killed")
            self.ended.set_result(error)
