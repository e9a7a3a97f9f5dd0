"""Where runs with quotaPolicy Queue wait for a slot of their organization, and who is called when one is free.

The queue is a memory of what the objects say: a new process has it again once it has seen them, and calls nobody
before. Whether a run that is called gets its slot is the ledger's word, so a slot that somebody else was faster to take
does no harm.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

import structlog

from pipeline_core.admission.fair_queue import FairQueue, Rank
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.observed import Run
from pipeline_operator import metrics
from pipeline_operator.cache import Cache
from pipeline_operator.entry import Entry

_log = structlog.get_logger(__name__)

# Slots that other processes give back, or a limit that is raised, are seen within this and the pause before.
_LOOK_SECONDS = 0.8
_RETRY_SECONDS = 5.0
# A run that was called and has neither a slot nor an answer by now (a call that hangs) lets others go first.
_ANSWER_SECONDS = 20.0
# For so long it stays behind the others, unless it asks before.
_SILENT_SECONDS = 300.0
# How many are called in one go: more would only stand in the work queue.
_MOST = 100
# Slots that are given back in a burst cost one look in this time; the first of them waits for nothing.
_BETWEEN_LOOKS = 0.1


class Room(Protocol):
    """What the waiting room needs of the ledger."""

    async def room(self, orgs: list[str]) -> Mapping[str, int]: ...


class WaitingRoom:
    """`wake` is called with the UID of a run that has to look again; `call`, if it is another, where it is its turn.

    Nobody is called before the cache `knows_all` runs. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        ledger: Room,
        cache: Cache,
        wake: Callable[[str], None],
        knows_all: Callable[[], bool],
        clock: Callable[[], float],
        call: Callable[[str], None] | None = None,
    ) -> None:
        self._ledger = ledger
        self._cache = cache
        self.wake = wake
        self._knows_all = knows_all
        self._clock = clock
        self._wake_first = call or wake
        # When each waiting run is to say again where it stands, which it may not have said at all.
        self.tell_at: dict[str, datetime] = {}
        self._opened = False
        self._queue = FairQueue()
        self._called_at: dict[str, float] = {}
        self._silent_at: dict[str, float] = {}
        self._limits: dict[str, str] = {}
        self._news = asyncio.Event()

    def __len__(self) -> int:
        """How many runs wait."""
        return len(self._queue)

    def __contains__(self, uid: str) -> bool:
        """Whether the run of this UID waits."""
        return uid in self._queue

    @property
    def is_open(self) -> bool:
        """Whether runs are called, as everybody who waited for an earlier process has taken their place."""
        if not self._opened and self._knows_all():
            self._opened = True
            for entry in self._cache.entries():
                if entry.run is not None and _waits(entry.run, entry):
                    if entry.run.uid in self._queue and not entry.run.status.waits_for_quota:
                        self.wake(entry.run.uid)  # it was looked at before, and hasn't said yet where it stands
                    self.enter(entry.run)
        return self._opened

    def holds_back(self, run: Run) -> bool:
        """Whether it isn't the run's turn to ask for a slot: others came before it, or may have."""
        if not self.is_open:
            return True
        if run.uid in self._queue:
            place, _ = self._queue.place(run.uid)  # the first may always ask
            return place > 1
        return self._queue.has(run.spec.org)

    def enter(self, run: Run, limit: str | None = None) -> None:
        """Have the run wait, again if it was called; `limit` says what was in its way, if that is known."""
        if run.uid not in self._queue or self._queue.is_called(run.uid):
            self._called_at.pop(run.uid, None)
            self._silent_at.pop(run.uid, None)  # it has asked
            self._news.set()
        silent_at = self._silent_at.get(run.uid)
        is_silent = silent_at is not None and self._clock() < silent_at + _SILENT_SECONDS
        silences = self._queue.silences(run.uid) if is_silent else 0
        self._queue.put(run.spec.org, run.uid, Rank(silences, -run.spec.priority, run.created_at, run.name))
        metrics.QUOTA_WAITING.set(len(self._queue))
        if limit is not None:
            self._limits[run.spec.org] = limit

    def leave(self, uid: str) -> None:
        """The run waits no longer: it has got its slot, or is over."""
        org = self._queue.leave(uid)
        if org is None:
            return
        self._silent_at.pop(uid, None)
        self.tell_at.pop(uid, None)
        metrics.QUOTA_WAITING.set(len(self._queue))
        if not self._queue.has(org):
            self._limits.pop(org, None)
        if self._called_at.pop(uid, None) is not None:
            self._news.set()  # it may leave a slot that it was called for

    def words(self, run: Run) -> str:
        """Where the waiting run stands, and why it waits. Raises KeyError if it doesn't."""
        if not self._opened:
            return f"Waiting for a free slot of {run.spec.org}: who else waits isn't known yet"
        place, count = self._queue.place(run.uid)
        limit = self._limits.get(run.spec.org)
        return f"Waiting for a free slot: position {place} of {count} of {run.spec.org}{f'; {limit}' if limit else ''}"

    def slot_freed(self) -> None:
        """A slot is free, whosever it was."""
        self._news.set()

    def slot_found(self, uid: str) -> None:
        """The ledger has a slot for this run: if it waits, it goes on with it, whoever else waits."""
        if uid in self._queue and not self._queue.is_called(uid):
            self._queue.call_one(uid)
            self._called_at[uid] = self._clock()
            self._wake_first(uid)

    def look_again(self, org: str) -> None:
        """Wake who waits for this organization's slots, as waiting has become useless; each of them the next ones."""
        for uid in self._queue.first(org, _MOST):
            self.wake(uid)

    async def call_forever(self) -> None:
        """Call runs as slots become free, until cancelled."""
        failed = False
        while True:
            if self.is_open and not len(self._queue):
                await self._news.wait()
            self._news.clear()
            try:
                await self.call()
                failed = False
            except PipelinesError as error:
                if not failed:
                    _log.warning("waiting runs can't be called", error=str(error))
                failed = True
            await asyncio.sleep(_BETWEEN_LOOKS)
            if not self._opened:
                continue
            try:
                async with asyncio.timeout(_RETRY_SECONDS if failed else _LOOK_SECONDS):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def call(self) -> None:
        """Call as many as there are slots for. Raises StoreUnavailableError where PostgreSQL is away."""
        self._give_up_silent()
        if not self.is_open or not self._queue.orgs:
            return
        room = await self._ledger.room(list(self._queue.orgs))
        for uid in self._queue.call(room, _MOST):
            self._called_at[uid] = self._clock()
            self._wake_first(uid)

    def _give_up_silent(self) -> None:
        now = self._clock()
        for uid, called_at in list(self._called_at.items()):
            if now >= called_at + _ANSWER_SECONDS:
                del self._called_at[uid]
                self._silent_at[uid] = now
                self._queue.again(uid)


def _waits(run: Run, entry: Entry) -> bool:
    """Whether a run that this process hasn't looked at yet waits for a slot, as far as its object tells."""
    goes_on = not (run.is_over or run.deleting or run.spec.cancel)
    has_begun = run.was_admitted or entry.job is not None or bool(entry.pods)
    return run.spec.queues and goes_on and not has_begun
