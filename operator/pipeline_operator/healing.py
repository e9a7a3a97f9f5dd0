"""Heals the ledger: a slot that is held by a run of which nothing is alive is given back.

A slot that has been held for long is suspect, not free: what it is held by is looked up at the API server first. This
is for what a crash or a lost event left behind; the end of a run gives its slot back by itself.
"""

import asyncio
import random
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from pipeline_core.errors import PipelinesError
from pipeline_core.lifecycle.actions import Finish
from pipeline_core.lifecycle.observed import is_at_rest
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.quota.ledger import HeldSlot, QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_operator import metrics
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.final_records import end_record
from pipeline_operator.kube import KubeError, KubeUnavailableError
from pipeline_operator.reading import read_job_and_pods

_log = structlog.get_logger(__name__)

_PAGE = 500
# A slot this young is being used: its Job, or the object for it, is about to be made.
_YOUNG = timedelta(seconds=60)
# One organization's runs that are refused in a burst are reason for one look.
_BETWEEN_LOOKS = timedelta(seconds=2)
# The drift of the counters is asked for every so many rounds.
_DRIFT_ROUNDS = 10
_NEVER_MADE = "The PipelineRun that this run was asked for with was never made"


class Healing:
    """`now` is the wall clock in UTC."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        ledger: QuotaLedger,
        records: RunRecords,
        now: Callable[[], datetime],
        slot_freed: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._ledger = ledger
        self._records = records
        self._now = now
        self._slot_freed = slot_freed
        self._looked_at: dict[str, datetime] = {}

    async def heal_forever(self, interval: float) -> None:
        """A round every `interval` seconds, until cancelled."""
        rounds = 0
        while True:
            try:
                await self.round()
                if rounds % _DRIFT_ROUNDS == 0:
                    await self._measure_drift()
                rounds += 1
            except (KubeError, KubeUnavailableError, PipelinesError) as error:
                _log.warning("ledger can't be healed", error=str(error))
            except Exception:
                _log.exception("healing failed")
            await asyncio.sleep(interval * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load

    async def round(self) -> None:
        """Look at every slot that is held."""
        held, after = 0, ""
        while page := await self._ledger.held(after=after, limit=_PAGE):
            for slot in page:
                held += not await self._heal(slot)
            after = page[-1].run_id
        metrics.QUOTA_HELD.set(held)
        self._looked_at = {org: at for org, at in self._looked_at.items() if self._now() < at + _BETWEEN_LOOKS}

    async def heal(self, org: str) -> bool:
        """Look at one organization's slots, as none is free; returns whether one is now."""
        looked_at = self._looked_at.get(org)
        if looked_at is not None and self._now() < looked_at + _BETWEEN_LOOKS:
            return False
        self._looked_at[org] = self._now()
        freed = [await self._heal(slot) for slot in await self._ledger.held(org_slug=org)]
        return any(freed)

    async def _heal(self, slot: HeldSlot) -> bool:
        """Give the slot back if nothing is alive of its run; returns whether it did."""
        if slot.is_recorded and slot.object_uid is not None:
            known = self._cache.get(slot.object_uid)
            if known.run is not None and not known.run.is_over:
                known.holds_slot = True  # an earlier process has reserved it
                return False
            if slot.object_namespace is not None and await self._is_alive(slot, slot.object_namespace, slot.object_uid):
                return False
        elif self._now() < slot.reserved_at + _YOUNG:
            return False
        elif slot.is_recorded and not slot.is_over:
            return await self._end_unmade(slot)
        released = await self._ledger.release(slot.run_id)
        # crash here: the slot is free, which is all.
        if released:
            metrics.QUOTA_HEALS.inc()
            _log.warning("slot given back that nothing held any more", run_id=slot.run_id, org=slot.org_slug)
            self._slot_freed()
        return released

    async def _is_alive(self, slot: HeldSlot, namespace: str, uid: str) -> bool:
        """Whether the run goes on, or something of it does, as the API server has it now."""
        try:
            job, pods = await read_job_and_pods(self._cluster, namespace, slot.run_id, uid)
            if not is_at_rest(job, pods):
                return True
            if slot.is_over or slot.object_name is None:
                return False
            body = await self._cluster.get_run(namespace, slot.object_name)
        except KubeError as error:
            if not await self._cluster.went_with_namespace(namespace, error):
                raise
            return False
        if body is None or body["metadata"]["uid"] != uid:
            return False
        self._cache.put_run(body)  # its event was lost
        return True

    async def _end_unmade(self, slot: HeldSlot) -> bool:
        """End the run whose object whoever had asked for it died before making; its units are given back."""
        if slot.object_namespace is not None and slot.object_name is not None:
            body = await self._cluster.get_run(slot.object_namespace, slot.object_name)
            if body is not None:
                return False  # it binds the run when it is seen
        finish = Finish(Phase.FAILED, Reason.REJECTED, _NEVER_MADE)
        await end_record(self._records, slot.run_id, None, finish, self._now(), frees=True)
        metrics.QUOTA_HEALS.inc()
        _log.warning("run ended whose object was never made", run_id=slot.run_id, org=slot.org_slug)
        self._slot_freed()
        return True

    async def _measure_drift(self) -> None:
        metrics.QUOTA_DRIFT.set(len(await self._ledger.drift()))
