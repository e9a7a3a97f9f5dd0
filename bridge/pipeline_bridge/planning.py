"""Plans backfills of schedules beside the other requests: one at a time in the process, and each once a minute."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakValueDictionary

from pipeline_bridge.problems import Problem
from pipeline_bridge.refused_fields import invalid_fields
from pipeline_core.errors import RequestInvalidError
from pipeline_core.kube.api import Json
from pipeline_core.schedules.backfill import BackfillPlan, plan_backfill
from pipeline_core.schedules.observed import BackfillSpec
from pipeline_core.schedules.timetable import Timetable

# Thousands of ticks are counted in Python: each thread that does so takes its turns of the interpreter from the event
# loop, so there is one, however many ask.
_PLANNER = ThreadPoolExecutor(1, thread_name_prefix="backfill-plan")
# Those of an organization wait for each other, so that one of another waits for one of them at the most.
_TURNS: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
_KEPT = 256

# What the ticks of a schedule follow from: expression and zone.
Source = tuple[str, str]


def source_of(schedule: Json) -> Source:
    """The expression and the zone of a schedule."""
    spec = schedule["spec"]
    return spec["cronExpression"], spec.get("timeZone", "Etc/UTC")


class Planned(NamedTuple):
    """A backfill of at least one run: how many, the ticks of the first and the last, and how many are left out."""

    total: int
    first: datetime
    last: datetime
    left_out: int


async def plan_of_backfill(org: str, source: Source, asked: BackfillSpec, now: datetime) -> Planned:
    """What the backfill of the organization's schedule would be by now.

    Raises RequestInvalidError for a schedule that can't be used, and Problem 422 `RequestInvalid` for a range that
    can't be, or that has no tick up to now.
    """
    try:
        Timetable(*source)
    except ValueError as error:
        raise RequestInvalidError(f"the schedule itself can't be used: expected {error}") from None
    # Ticks are whole minutes: until the next one it is the same plan.
    minute = now.replace(second=0, microsecond=0)
    loop = asyncio.get_running_loop()
    async with _TURNS.setdefault(org, asyncio.Lock()):
        plan = await loop.run_in_executor(_PLANNER, _planned, source, asked.first, asked.last, minute)
    if isinstance(plan, str):
        raise _refusal(plan, asked)
    if plan.first is None or plan.last is None:
        expected = "a range in which the schedule has a tick" + (" that isn't still to come" if plan.left_out else "")
        raise invalid_fields([{"field": "to", "value": asked.last, "expected": expected}])
    return Planned(plan.total, plan.first, plan.last, plan.left_out)


@lru_cache(_KEPT)
def _planned(source: Source, first: str, last: str, minute: datetime) -> BackfillPlan | str:
    """The plan, or why there is none: that takes as long to be found out, and is the same the next time, too."""
    _, zone = source
    try:
        return plan_backfill(BackfillSpec("", first, last), Timetable(*source), zone, minute)
    except ValueError as error:
        return str(error)


def _refusal(why: str, asked: BackfillSpec) -> Problem:
    field, _, words = why.partition(": ")
    given = {"from": asked.first, "to": asked.last}.get(field, "")
    expected = words.partition("expected ")[2] or words
    return invalid_fields([{"field": field, "value": given, "expected": expected}])
