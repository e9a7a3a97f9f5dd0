"""Gets a run its slot: the ledger's answer, after a look at slots that are held by nothing, or a place in the queue."""

from pipeline_core.admission.quota import ConcurrentLimitReachedError
from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.observed import Run
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
        if run.spec.queues and self.room.holds_back(run):
            self.room.enter(run)
            return None
        try:
            stored = await self._ask(record)
        except ConcurrentLimitReachedError as error:
            if not run.spec.queues:
                raise
            self.room.enter(run, str(error))
            return None
        except PipelinesError:
            self.room.leave(run.uid)
            raise
        self.room.leave(run.uid)
        if not stored.phase.is_final:
            # crash here: the next process asks again, and is given the same slot.
            self._cache.hold_slot(run.uid)
            metrics.QUOTA_RESERVATIONS.inc()
        return stored

    async def _ask(self, record: NewRun) -> StoredRun:
        try:
            return await self._ledger.reserve(record)
        except ConcurrentLimitReachedError:
            if not await self._healing.heal(record.org_slug):
                raise
        return await self._ledger.reserve(record)
