"""Does together what was asked while the work before was under way, so that a burst costs few transactions.

A single call isn't held back: it goes at once, alone. What comes meanwhile goes next, in one; where work is costly,
after a moment in which more may come.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# So that a group's transaction stays short, however many wait.
_MOST = 200
_MOMENT_SECONDS = 0.02


class Grouped(Generic[Item, Result]):
    """Calls of `work`, one at a time, each with all that was asked since the last; results in the items' order.

    `moment_seconds` pass between two calls. 0 suits reads, which are short and waited for: then nobody waits for a time
    to pass, but whoever is about to ask, in this turn of the event loop or the next, comes along.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        moment_seconds: float = _MOMENT_SECONDS,
    ) -> None:
        self._work = work
        self._moment_seconds = moment_seconds
        self._asked: list[tuple[Item, asyncio.Future[Result]]] = []
        self._working: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The result for this item. Raises what the call of `work` raised in which it was.

        Cancelling the caller doesn't take back what it asked for.
        """
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._asked.append((item, future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while self._asked:
            if not self._moment_seconds:
                await self._all_have_asked()
            group, self._asked = self._asked[:_MOST], self._asked[_MOST:]
            try:
                results = await self._work([item for item, _ in group])
                pairs = list(zip(group, results, strict=True))
            except Exception as error:
                for _, future in group:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), result in pairs:
                    if not future.done():
                        future.set_result(result)
            if self._asked and self._moment_seconds:
                await asyncio.sleep(self._moment_seconds)

    async def _all_have_asked(self) -> None:
        """Until a turn of the event loop brings nobody else: on a busy loop each brings some, and a call costs more."""
        known = 0
        while known < len(self._asked) < _MOST:
            known = len(self._asked)
            await asyncio.sleep(0)
