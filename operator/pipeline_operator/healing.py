"""Heals the ledger: a slot that is held by a run of which nothing is alive is given back.

A slot that has been held for long is suspect, not free: what it is held by is looked up at the API server first. This
is for what a crash or a lost event left behind; the end of a run gives its slot back by itself.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import structlog

from pipeline_core.errors import PipelinesError
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.observed import Run, is_at_rest
from pipeline_core.store.quota.ledger import HeldSlot, QuotaLedger
from pipeline_core.store.quota.looks import Looks
from pipeline_core.store.quota.unmade import NEVER_MADE, YOUNG
from pipeline_operator import metrics
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.parsing import parse_job, parse_pod, parse_run
from pipeline_operator.reading import read_bodies, read_run
from pipeline_operator.waiting_room import WaitingRoom

_log = structlog.get_logger(__name__)

_PAGE = 500
_RETRY_SECONDS = 5.0
_BETWEEN_QUESTIONS = 0.1
# The drift of the counters is asked for every so many rounds.
_DRIFT_ROUNDS = 10


class Healing:
    """`now` is the wall clock in UTC."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        ledger: QuotaLedger,
        now: Callable[[], datetime],
        room: WaitingRoom,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._ledger = ledger
        self._now = now
        self._room = room
        self._looks = Looks(self._heal_one, now)
        # Slots of which nothing can be known, in namespaces that this process has no rights in; said once of each.
        self._out_of_reach: set[str] = set()

    async def heal_forever(self, interval: float) -> None:
        """A round once all runs are known, then one every `interval` seconds, until cancelled."""
        for _ in range(int(interval / _BETWEEN_QUESTIONS)):
            if self._room.is_open:  # before, each slot would have to be looked up
                break
            await asyncio.sleep(_BETWEEN_QUESTIONS)
        rounds = 0
        while True:
            pause = _RETRY_SECONDS
            try:
                await self.round()
                if rounds % _DRIFT_ROUNDS == 0:
                    await self._measure_drift()
                rounds += 1
                pause = interval
            except (KubeError, KubeUnavailableError, PipelinesError) as error:
                _log.warning("ledger can't be healed", error=str(error))
            except Exception:
                _log.exception("healing failed")
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load

    async def round(self) -> None:
        """Look at every slot that is held."""
        held = [slot.run_id async for slot in self._held() if not await self._heal(slot)]
        metrics.QUOTA_HELD.set(len(held))
        self._out_of_reach &= set(held)

    async def heal(self, org: str) -> bool:
        """Look at one organization's slots, as none is free; returns whether one is now.

        Raises StoreUnavailableError; where the API server doesn't answer, the slots are taken to be in use.
        """
        return await self._looks(org)

    async def _heal_one(self, org: str) -> bool:
        try:
            return any([await self._heal(slot) async for slot in self._held(org)])
        except KubeUnavailableError as error:
            _log.warning("ledger can't be healed", org=org, error=str(error))
            return False

    async def _held(self, org: str | None = None) -> AsyncIterator[HeldSlot]:
        after = ""
        while page := await self._ledger.held(org_slug=org, after=after, limit=_PAGE):
            for slot in page:
                yield slot
            after = page[-1].run_id

    async def _heal(self, slot: HeldSlot) -> bool:
        """Give the slot back if nothing is alive of its run; returns whether it did."""
        try:
            return await self._look(slot)
        except KubeError as error:
            # What can't be read may be alive, and must not keep the others from being looked at.
            if slot.run_id not in self._out_of_reach:
                _log.error("held slot can't be looked at", run_id=slot.run_id, org=slot.org_slug, error=error.message)
            self._out_of_reach.add(slot.run_id)
            return False

    async def _look(self, slot: HeldSlot) -> bool:
        is_young = slot.age < YOUNG
        if slot.is_recorded and slot.object_uid is not None:
            known = self._cache.get(slot.object_uid).run
            is_over = slot.is_over or (known is not None and known.is_over)
            goes_on = known is not None and not known.is_over
            if goes_on or await self._is_alive(slot, slot.object_uid, is_over=is_over, is_young=is_young):
                self._found(slot.object_uid)
                return False
        elif is_young:
            return False
        elif slot.is_recorded and not slot.is_over:
            return await self._end_unmade(slot)
        released = await self._ledger.release(slot.run_id)
        # crash here: the slot is free, which is all.
        if released:
            metrics.QUOTA_HEALS.inc()
            _log.warning("slot given back that nothing held any more", run_id=slot.run_id, org=slot.org_slug)
            self._room.slot_freed()
        return released

    def _found(self, uid: str) -> None:
        """An earlier process has reserved it for this run, or the answer was lost."""
        if self._cache.get(uid).run is not None:
            self._cache.hold_slot(uid)
            self._room.slot_found(uid)

    async def _is_alive(self, slot: HeldSlot, uid: str, *, is_over: bool, is_young: bool) -> bool:
        """Whether the run goes on, or something of it does, as the API server has it now."""
        namespace, name = slot.object_namespace, slot.object_name
        if namespace is None or name is None:
            return False
        try:
            job, pods, version = await read_bodies(self._cluster, namespace, slot.run_id, uid)
            if not is_at_rest(parse_job(job) if job else None, [parse_pod(pod) for pod in pods]):
                if self._cache.get(uid).run is not None:
                    # The watch may not have shown them: what outlives its run is stopped.
                    self._cache.replace(uid, job=job, pods=pods, version=version)
                    self._room.wake(uid)
                return True
            if is_over:
                return False
            body = await self._cluster.get_run(namespace, name)
        except KubeError as error:
            if not await self._cluster.went_with_namespace(namespace, error):
                raise
            return False
        if body is None or body["metadata"]["uid"] != uid:
            return is_young  # its Job may be on its way still; the end of its record gives the slot back
        if self._cache.put_run(body):
            self._room.wake(uid)  # its event was lost, or will be no news
        return True

    async def _end_unmade(self, slot: HeldSlot) -> bool:
        """End the run whose object whoever had asked for it died before making; its units are given back.

        So does one whose object was refused without the record being touched (`Ending.refuse_without_record`), and one
        that never can be made, as another run's object has its name.
        """
        message = NEVER_MADE
        if slot.object_namespace is not None and slot.object_name is not None:
            body = await read_run(self._cluster, slot.object_namespace, slot.object_name)
            if body is not None and _is_of(slot, run := parse_run(body)):
                if not run.is_over:
                    return False  # it binds the run when it is seen
                message = body["status"].get("message") or NEVER_MADE
        if not await self._ledger.end_unmade(slot, at=self._now(), message=message):
            return False  # it has been seen, or is being made
        metrics.QUOTA_HEALS.inc()
        _log.warning("run ended whose object was never made", run_id=slot.run_id, org=slot.org_slug)
        self._room.slot_freed()
        return True

    async def _measure_drift(self) -> None:
        metrics.QUOTA_DRIFT.set(len(await self._ledger.drift()))


def _is_of(slot: HeldSlot, run: Run) -> bool:
    """Whether the object is of the run that holds the slot: its name alone is anybody's to give."""
    return (run.run_id, run.spec.org) == (slot.run_id, slot.org_slug)
