"""Gives back the slots of an organization that were reserved for objects nobody has made, as it is refused another.

Whether anything is alive of a run that has an object, the operator alone can judge (`pipeline_operator.healing`).
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

import structlog

from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.run_objects import is_object_of
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.store.quota.ledger import HeldSlot, QuotaLedger
from pipeline_core.store.quota.looks import Looks
from pipeline_core.store.quota.unmade import NEVER_MADE, YOUNG

_log = structlog.get_logger(__name__)

_PAGE = 500
# So many objects are asked for in a look: a refusal is waited for, and each slot that comes back is as good as another.
_MOST = 50
_SECONDS = 2.0


class StaleSlots:
    """`now` is the wall clock in UTC."""

    def __init__(self, ledger: QuotaLedger, cluster: BridgeCluster, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._cluster = cluster
        self._now = now
        self._looks = Looks(self._look, now)

    async def give_back(self, org: str) -> bool:
        """Whether any slot was given back; who asks at the same time as others shares a look.

        Raises StoreUnavailableError; where the API server doesn't answer, the slots are taken to be in use.
        """
        return await self._looks(org)

    async def _look(self, org: str) -> bool:
        stale = await self._stale(org)
        try:
            return any([await self._end(slot) for slot in stale])
        except (KubeUnavailableError, TimeoutError) as error:
            _log.warning("stale slots can't be looked at", org=org, error=str(error))
            return False

    async def _stale(self, org: str) -> list[HeldSlot]:
        """Slots of runs that are recorded, go on, and have had no object for a minute; the first ones by run id."""
        found: list[HeldSlot] = []
        after: str | None = ""
        while after is not None and len(found) < _MOST:
            page = await self._ledger.held(org_slug=org, after=after, limit=_PAGE)
            found += [
                slot
                for slot in page
                if slot.is_recorded and not slot.is_over and slot.object_uid is None and slot.age >= YOUNG
            ]
            after = page[-1].run_id if len(page) == _PAGE else None
        return found[:_MOST]

    async def _end(self, slot: HeldSlot) -> bool:
        namespace, name = slot.object_namespace or "", slot.object_name or ""
        try:
            async with asyncio.timeout(_SECONDS):
                body = await self._cluster.get_run(namespace, name)
        except KubeError as error:
            _log.warning("stale slot can't be looked at", run_id=slot.run_id, org=slot.org_slug, error=error.message)
            return False
        if body is not None and is_object_of(body, slot):
            return False  # the operator binds the run when it sees it
        # crash here: whoever looks next finds the same.
        ended = await self._ledger.end_unmade(slot, at=self._now(), message=NEVER_MADE)
        if ended:
            _log.warning("run ended whose object was never made", run_id=slot.run_id, org=slot.org_slug)
        return ended
