"""Gets a run its slot: the ledger's answer, after a look at slots that are held by nothing, or a place in the queue."""

from pipeline_core.admission.quota import ConcurrentLimitReachedError, QuotaExceededError, exceeded
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.observed import Run
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.runs import NewRun, StoredRun
from pipeline_operator import metrics
from pipeline_operator.cache import Cache
from pipeline_operator.healing import Healing
from pipeline_operator.waiting_room import WaitingRoom


class Slots:
    """The way to the ledger for runs that are about to start."""

    def __init__(self, ledger: QuotaLedger, cache: Cache, healing: Healing, room: WaitingRoom) -> None:
        self._ledger = ledger
        self._cache = cache
        self._healing = healing
        self.room = room

    async def reserve(self, run: Run, record: NewRun) -> StoredRun | None:
        """The run's record, begun with a slot, or as it ended; None where the run waits for its turn.

        Raises what `QuotaLedger.reserve` raises; of a run that queues, the concurrent limit alone makes it wait.
        """
        entry = self._cache.get(run.uid)
        # One that may hold a slot asks whoever waits: that slot is what they wait for. An earlier process may have got
        # it, and have died before the object could say so.
        may_hold = entry.holds_slot or run.was_admitted
        held_back = run.spec.queues and not may_hold and self.room.holds_back(run)
        if held_back and not await self._ledger.holds(run.run_id):
            await self._wait(run)
            return None
        try:
            # crash here, before or after: the next process finds the slot among those that are held.
            entry.holds_slot = True
            stored = await self._ask(record)
        except StoreUnavailableError:
            raise  # it may have got its slot, and the answer be lost
        except PipelinesError as error:
            entry.holds_slot = False
            is_concurrent = isinstance(error, ConcurrentLimitReachedError)
            if is_concurrent and run.spec.queues:
                self.room.enter(run, str(error))
                return None
            self.room.leave(run.uid)
            if isinstance(error, QuotaExceededError) and not is_concurrent:
                self.room.look_again(run.spec.org)
            raise
        self.room.leave(run.uid)
        if stored.took_slot:
            metrics.QUOTA_RESERVATIONS.inc()
        return stored

    async def _wait(self, run: Run) -> None:
        """Have the run wait its turn; raises the daily or monthly limit that it would wait in vain for."""
        if self.room.is_open:
            standing = await self._ledger.standing(run.spec.org)
            limit = exceeded(standing.limits, standing.used_today)
            if limit is not None and not isinstance(limit, ConcurrentLimitReachedError):
                self.room.leave(run.uid)
                self.room.look_again(run.spec.org)
                raise limit
            self.room.enter(run, str(limit) if limit else None)
        else:
            self.room.enter(run)

    async def _ask(self, record: NewRun) -> StoredRun:
        try:
            return await self._ledger.reserve(record)
        except ConcurrentLimitReachedError:
            if not await self._healing.heal(record.org_slug):
                raise
        return await self._ledger.reserve(record)
