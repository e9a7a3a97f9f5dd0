"""PostgreSQL's answers to what schedules ask: how runs ended, who may run, and how much quota is left."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pipeline_core.admission.admit import Facts as OrgFacts
from pipeline_core.admission.quota import Usage
from pipeline_core.admission.subscription import Limits
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.quota.standing import Standing
from sim_schedules.actor import Status
from support.fake_ledger import SETTINGS

if TYPE_CHECKING:
    from sim_schedules.world import World

PLENTY = 1_000_000


class _Store:
    def __init__(self, world: "World") -> None:
        self._world = world
        self._asked: tuple[float, float, bool] = (-1.0, 0.0, False)

    async def _answer(self) -> None:
        """What is asked for at the same time is read together."""
        world, now = self._world, self._world.loop.time()
        if self._asked[0] != now:
            self._asked = now, world.latency(), world.chaos.store_fails()
        _, seconds, fails = self._asked
        await asyncio.sleep(seconds)
        if fails or world.chaos.store_away:
            raise StoreUnavailableError("no connection")


class Records(_Store):
    """See `pipeline_core.store.records.RunRecords`."""

    async def status(self, run_id: str, _org_slug: str) -> Status | None:
        """What the record says."""
        await self._answer()
        phase = self._world.actor.phases.get(run_id)
        return None if phase is None else Status(phase)


class Facts(_Store):
    """See `pipeline_core.store.facts.AdmissionFacts`."""

    async def get(self, org_slug: str, _provider: str) -> OrgFacts:
        """Whether the subscription is active."""
        await self._answer()
        active = self._world.active[org_slug].values[-1][1]
        return OrgFacts(True, "ACTIVE" if active else "SUSPENDED", SETTINGS)


class Ledger(_Store):
    """See `pipeline_core.store.quota.ledger.QuotaLedger`."""

    async def standing(self, org_slug: str) -> Standing:
        """What the plan allows, and what was used of it today."""
        await self._answer()
        world = self._world
        now = world.loop.now()
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        month = (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)
        used = world.used.get((org_slug, now.date()), 0)
        usage = Usage(day=now.date(), month=now.date().replace(day=1), day_used=used, month_used=used, concurrent=0)
        daily = world.dials.daily if org_slug == world.limited_org else None
        limits = Limits(daily or PLENTY, PLENTY, PLENTY)
        ends: Any = (midnight - now, month - now)
        return Standing(org_slug, True, "ACTIVE", None, limits, usage, usage.day, *ends)
