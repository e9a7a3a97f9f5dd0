"""Where runs with quotaPolicy Queue wait for a slot of their organization, and who is called when one is free.

The queue is a memory of what the objects say: a new process has it again once it has seen them. Whether a run that is
called gets its slot is the ledger's word, so a slot that somebody else was faster to take does no harm.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from pipeline_core.admission.fair_queue import FairQueue, Rank
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.observed import Run
from pipeline_operator import metrics

_log = structlog.get_logger(__name__)

# Slots that other processes give back, or a limit that is raised, are seen within this.
_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 5.0
# A run that was called and has neither a slot nor an answer by now (a call that hangs) lets others go first.
_ANSWER_SECONDS = 20.0
# How many are called in one go: more would only stand in the work queue.
_MOST = 100


class Room(Protocol):
    """What the waiting room needs of the ledger."""

    async def room(self, orgs: list[str]) -> Mapping[str, int]: ...


class WaitingRoom:
    """`wake` is called with the UID of a run whose turn it is; nobody is called before `is_open`.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self, ledger: Room, wake: Callable[[str], None], is_open: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._wake = wake
        self._is_open = is_open
        self._clock = clock
        self._queue = FairQueue()
        self._called_at: dict[str, float] = {}
        self._limits: dict[str, str] = {}
        self._news = asyncio.Event()

    def __len__(self) -> int:
        """How many runs wait."""
        return len(self._queue)

    def holds_back(self, run: Run) -> bool:
        """Whether it isn't the run's turn to ask for a slot: others came before it, or may have."""
        uid = run.uid
        if self._queue.is_called(uid):
            return False
        return uid in self._queue or not self._is_open() or self._queue.has(run.spec.org)

    def enter(self, run: Run, limit: str | None = None) -> None:
        """Have the run wait; `limit` says what was in its way, if it has asked."""
        if limit is not None:
            self._limits[run.spec.org] = limit
        if run.uid not in self._queue or self._queue.is_called(run.uid):
            self._called_at.pop(run.uid, None)
            self._queue.put(run.spec.org, run.uid, Rank(-run.spec.priority, run.created_at, run.name))
            self._tell()
            self._news.set()

    def leave(self, uid: str) -> None:
        """The run waits no longer: it has got its slot, or is over."""
        if uid in self._queue:
            self._queue.leave(uid)
            self._called_at.pop(uid, None)
            self._tell()

    def words(self, run: Run) -> str:
        """Where the waiting run stands, and why it waits."""
        place, count = self._queue.place(run.uid)
        limit = self._limits.get(run.spec.org)
        return f"Waiting for a free slot: position {place} of {count} of {run.spec.org}{f'; {limit}' if limit else ''}"

    def slot_freed(self) -> None:
        """A slot is free, whosever it was."""
        self._news.set()

    async def call_forever(self) -> None:
        """Call runs as slots become free, until cancelled."""
        failed = False
        while True:
            if not len(self._queue):
                await self._news.wait()
            self._news.clear()
            try:
                await self._call()
                failed = False
            except PipelinesError as error:
                if not failed:
                    _log.warning("waiting runs can't be called", error=str(error))
                failed = True
            try:
                async with asyncio.timeout(_RETRY_SECONDS if failed else _LOOK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _call(self) -> None:
        self._give_up_silent()
        if not self._is_open() or not self._queue.orgs:
            return
        room = await self._ledger.room(sorted(self._queue.orgs))
        for uid in self._queue.call(room, _MOST):
            self._called_at[uid] = self._clock()
            self._wake(uid)

    def _give_up_silent(self) -> None:
        now = self._clock()
        for uid, called_at in list(self._called_at.items()):
            if now >= called_at + _ANSWER_SECONDS:
                del self._called_at[uid]
                self._queue.again(uid)

    def _tell(self) -> None:
        metrics.QUOTA_WAITING.set(len(self._queue))
