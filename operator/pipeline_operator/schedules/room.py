"""How many runs an organization's quota leaves for catching up and backfills: what its schedules still need is kept.

A run over a daily or monthly limit fails at once, so nothing is made for the past that a tick to come would lack.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from pipeline_core.admission.quota import DailyLimitReachedError, MonthlyLimitReachedError, QuotaExceededError
from pipeline_core.schedules.decision import Room
from pipeline_core.schedules.facts import read_timetable
from pipeline_core.schedules.observed import Schedule
from pipeline_core.schedules.stagger import offset
from pipeline_core.store.quota.standing import Standing
from pipeline_operator.cache import Cache
from pipeline_operator.schedules.cache import ScheduleCache

# Ticks of one schedule that are counted one by one: those of a month of days, or of a day of hours. Of more it is said
# how many there are at that rate.
_COUNTED = 31
# For so long what an organization's schedules need stays counted: it takes a millisecond for each of them.
_KEPT = timedelta(minutes=5)
# A limit may be raised at any time: whoever waits for the day's end looks again after this.
_LOOK_AGAIN = timedelta(minutes=5)
# Where runs that were made just now are what is in the way: the ledger soon knows of them.
_LOOK_SOON = timedelta(seconds=10)


class Ledger(Protocol):
    """What is asked of the quota ledger."""

    async def standing(self, org_slug: str) -> Standing: ...


class Rooms:
    """`runs` is the cache of runs, `now` the wall clock in UTC."""

    def __init__(self, ledger: Ledger, schedules: ScheduleCache, runs: Cache, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._schedules = schedules
        self._runs = runs
        self._now = now
        # Of each organization: as of when, until when, up to how many, and how many ticks.
        self._needed: dict[tuple[str, str], tuple[datetime, int, int]] = {}
        # Runs made for the past that the ledger may not have counted yet, by their UIDs.
        self._promised: dict[str, set[str]] = {}

    def promise(self, org: str, run_uid: str) -> None:
        """A run was made for the past: it will take a slot."""
        self._promised.setdefault(org, set()).add(run_uid)

    async def of(self, org: str) -> Room:
        """Raises StoreUnavailableError when PostgreSQL is away."""
        standing = await self._ledger.standing(org)
        used, limits, now = standing.used_today, standing.limits, self._now()
        promised = self._still_promised(org)
        day = await self._left(org, "day", limits.per_day, used.day_used, standing.day_ends_in)
        month = await self._left(org, "month", limits.per_month, used.month_used, standing.month_ends_in)
        left = min(day, month) - promised
        if left > 0:
            return Room(left)
        error: QuotaExceededError
        if day <= month:
            error, ends_in = DailyLimitReachedError(limits.per_day), standing.day_ends_in
        else:
            error, ends_in = MonthlyLimitReachedError(limits.per_month), standing.month_ends_in
        again = min(ends_in, _LOOK_SOON if promised else _LOOK_AGAIN)
        return Room(0, str(error), now + again)

    async def _left(self, org: str, period: str, limit: int | None, used: int, ends_in: timedelta) -> int:
        left = (limit or 0) - used
        return left if left <= 0 else left - await self._needs(org, period, ends_in, left)

    async def _needs(self, org: str, period: str, ends_in: timedelta, at_most: int) -> int:
        """How many ticks the organization's schedules have until then, `at_most` if there are more."""
        now = self._now()
        known = self._needed.get((org, period))
        if known is not None and now - _KEPT < known[0] <= now and known[1] >= at_most:
            return min(known[2], at_most)
        total = 0
        for schedule in self._schedules.of_org(org):
            await asyncio.sleep(0)  # an organization with many schedules doesn't stop the others
            total += ticks_within(schedule, now, now + ends_in)
            if total >= at_most:
                total = at_most
                break
        self._needed[org, period] = now, at_most, total
        return total

    def _still_promised(self, org: str) -> int:
        uids = self._promised.get(org)
        if not uids:
            return 0
        for uid in list(uids):
            run = self._runs.get(uid).run
            if run is None or run.is_over or run.was_admitted:
                uids.discard(uid)
        return len(uids)


def ticks_within(schedule: Schedule, after: datetime, until: datetime) -> int:
    """How many ticks of the schedule are due in (after, until]; more than a month has days are estimated."""
    spec = schedule.spec
    if not spec.enabled or schedule.deleting:
        return 0
    timetable, _ = read_timetable(spec.cron_expression, spec.time_zone)
    if timetable is None:
        return 0
    late = offset(spec.org, schedule.namespace, schedule.name, spec.stagger_seconds)
    after, until = after - late, until - late
    ticks = timetable.upcoming(after, until, _COUNTED)
    if len(ticks) < _COUNTED:
        return len(ticks)
    return 1 + int((_COUNTED - 1) * ((until - ticks[0]) / (ticks[-1] - ticks[0])))
