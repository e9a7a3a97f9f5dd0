"""How many runs an organization's quota leaves for catching up and backfills: what its schedules still need is kept.

A run over a daily or monthly limit fails at once, so nothing is made for the past that a tick to come would lack.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from pipeline_core.admission.quota import DailyLimitReachedError, MonthlyLimitReachedError
from pipeline_core.schedules.decision import Room
from pipeline_core.schedules.facts import read_timetable
from pipeline_core.schedules.observed import Schedule
from pipeline_core.schedules.stagger import lateness
from pipeline_core.store.quota.standing import Standing
from pipeline_operator.cache import Cache
from pipeline_operator.schedules.cache import ScheduleCache
from pipeline_operator.schedules.gauges import state_of

# Ticks of one schedule that are counted one by one: those of a month of days, or of a day of hours. Of more it is said
# how many there are at that rate.
_COUNTED = 31
# For so long what an organization's schedules need stays counted: it takes a millisecond for each of them.
_KEPT = timedelta(minutes=5)
# A limit may be raised at any time: whoever waits for the day's end looks again after this.
_LOOK_AGAIN = timedelta(minutes=5)
# Where runs that were made just now are what is in the way: the ledger soon knows of them.
_LOOK_SOON = timedelta(seconds=10)


# What the status says of schedules whose ticks have runs, or may have: see `state_of`.
_AT_WORK = frozenset({"scheduled", "new"})


@dataclass(frozen=True, slots=True)
class _Period:
    """What is left of a day or month beside what is promised, why there isn't more, and how long it lasts."""

    left: int
    why: str
    ends_in: timedelta


class Ledger(Protocol):
    """What is asked of the quota ledger."""

    async def standing(self, org_slug: str) -> Standing: ...


class Rooms:
    """`runs` is the cache of runs, `owns` whether runs of an organization may be in a namespace at all.

    `now` is the wall clock in UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        schedules: ScheduleCache,
        runs: Cache,
        now: Callable[[], datetime],
        owns: Callable[[str, str], Awaitable[bool]],
    ) -> None:
        self._ledger = ledger
        self._schedules = schedules
        self._runs = runs
        self._now = now
        self._owns = owns
        # Of each organization: as of when, up to how many, and how many ticks.
        self._needed: dict[tuple[str, str], tuple[datetime, int, int]] = {}

    async def of(self, org: str) -> Room:
        """Raises StoreUnavailableError when PostgreSQL is away."""
        standing = await self._ledger.standing(org)
        used, limits = standing.used_today, standing.limits
        # Those that the ledger doesn't count yet: made just now, or waiting for a slot.
        waiting = self._runs.unadmitted(org)
        day = await self._period(org, "day", limits.per_day, used.day_used, standing.day_ends_in, waiting)
        month = await self._period(org, "month", limits.per_month, used.month_used, standing.month_ends_in, waiting)
        least = min(day, month, key=lambda each: each.left)
        if least.left > 0:
            return Room(least.left)
        return Room(0, least.why, self._now() + min(least.ends_in, _LOOK_SOON if waiting else _LOOK_AGAIN))

    async def _period(
        self, org: str, name: Literal["day", "month"], limit: int | None, used: int, ends_in: timedelta, waiting: int
    ) -> _Period:
        left = (limit or 0) - used
        if left <= 0:
            error = DailyLimitReachedError if name == "day" else MonthlyLimitReachedError
            return _Period(left, str(error(limit)), ends_in)
        ticks = await self._needs(org, name, ends_in, left)
        why = [f"{ticks} of the {name}'s {limit} runs are kept for ticks to come"] if ticks else []
        if waiting:
            why.append(f"{waiting} that were made are to begin yet" if why else f"As many runs of the {name}'s {limit} "
                       "as are left were made, and are to begin yet")  # fmt: skip
        return _Period(left - ticks - waiting, "; ".join(why), ends_in)

    async def _needs(self, org: str, period: str, ends_in: timedelta, at_most: int) -> int:
        """How many runs the organization's schedules make until then, `at_most` if there are more."""
        now = self._now()
        known = self._needed.get((org, period))
        if known is not None and now - _KEPT < known[0] <= now and known[1] >= at_most:
            return min(known[2], at_most)
        total = 0
        for schedule in self._schedules.of_org(org):
            await asyncio.sleep(0)  # an organization with many schedules doesn't stop the others
            if state_of(schedule.status) in _AT_WORK and await self._owns(org, schedule.namespace):
                total += ticks_within(schedule, now, now + ends_in)
            if total >= at_most:
                total = at_most
                break
        self._needed[org, period] = now, at_most, total
        return total


def ticks_within(schedule: Schedule, after: datetime, until: datetime) -> int:
    """How many ticks of the schedule are due in (after, until]; more than a month has days are estimated."""
    spec = schedule.spec
    if not spec.enabled or schedule.deleting:
        return 0
    timetable, _ = read_timetable(spec.cron_expression, spec.time_zone)
    if timetable is None:
        return 0
    late = lateness(schedule)
    after, until = after - late, until - late
    ticks = timetable.upcoming(after, until, _COUNTED)
    if len(ticks) < _COUNTED:
        return len(ticks)
    return 1 + int((_COUNTED - 1) * ((until - ticks[0]) / (ticks[-1] - ticks[0])))
