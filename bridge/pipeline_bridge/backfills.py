"""Begins, changes, stops and shows the backfill of a schedule: a field of its spec, which the operator carries out."""

import asyncio
from dataclasses import dataclass

from pipeline_bridge.models.backfills import (
    BackfillBegun,
    BackfillChange,
    BackfillRequest,
    BackfillStatus,
    QuotaNeeded,
    QuotaUse,
)
from pipeline_bridge.parts import Parts
from pipeline_bridge.problems import Problem
from pipeline_bridge.refused_fields import invalid_fields
from pipeline_bridge.schedule_checks import check_unmanaged, plan_of
from pipeline_bridge.schedules import Schedules
from pipeline_core.errors import RequestInvalidError
from pipeline_core.kube.api import Json
from pipeline_core.schedules.asking import beginning, last_backfill
from pipeline_core.schedules.backfill import BackfillPlan, default_id, plan_backfill
from pipeline_core.schedules.backfill_quota import backfill_quota
from pipeline_core.schedules.observed import BackfillSpec
from pipeline_core.schedules.timetable import Timetable


@dataclass(frozen=True, slots=True)
class Backfills:
    """The backfills of an organization's schedules: each has one at a time.

    Every method raises KubeError, KubeUnavailableError and Problem 404 `ScheduleNotFound`; those that change something
    raise Problem 409 `ManagedByGitOps` and `Conflict` as well.
    """

    parts: Parts

    async def begin(self, org: str, schedule_id: str, wanted: BackfillRequest) -> BackfillBegun:
        """Begin the backfill, unless it is there; with `dry_run` only say what it would be.

        Raises Problem 422 `RequestInvalid` for a range that can't be, BackfillUnderWayError, BackfillIdUsedError, what
        a run of the schedule would be refused with, and StoreUnavailableError.
        """
        asked = BackfillSpec(
            id=wanted.id or default_id(wanted.first, wanted.last),
            first=wanted.first,
            last=wanted.last,
            concurrency=wanted.concurrency or 1,
        )
        schedules = Schedules(self.parts)
        schedule = await schedules.find(org, schedule_id)
        check_unmanaged(schedule)
        # Thousands of ticks take a moment to be counted.
        plan = await asyncio.to_thread(self._plan, schedule, asked)
        if plan.first is None or plan.last is None:
            raise _no_ticks(asked, plan)
        plan_of(self.parts, schedule["spec"], plan.first)
        standing = await self.parts.ledger.standing(org)  # before anything is written: the answer has it

        def patch_of(schedule: Json) -> Json | None:
            fields = beginning(asked, schedule, keeps_concurrency=wanted.concurrency is None)
            return None if fields is None else {"backfill": fields}

        if wanted.dry_run:
            patch_of(schedule)
        else:
            await schedules.patch(org, schedule_id, patch_of)
        quota = backfill_quota(plan.total, standing.limits, standing.used_today)
        return BackfillBegun(
            success=True,
            backfill_id=asked.id,
            runs=plan.total,
            first=plan.first,
            last=plan.last,
            left_out=plan.left_out,
            quota=QuotaNeeded(
                daily=QuotaUse(limit=quota.daily_limit, used=quota.daily_used),
                monthly=QuotaUse(limit=quota.monthly_limit, used=quota.monthly_used),
                days_at_least=quota.days_at_least,
            ),
        )

    async def change(self, org: str, schedule_id: str, change: BackfillChange) -> None:
        """Pause the backfill that is under way, let it go on, or let it run more at a time.

        Raises RequestInvalidError where nothing is to be changed, and Problem 404 `BackfillNotFound`.
        """
        fields = {name: getattr(change, name) for name in change.model_fields_set}
        if not fields:
            raise RequestInvalidError(f"expected at least one field of: {', '.join(type(change).model_fields)}")

        def patch_of(schedule: Json) -> Json:
            last = last_backfill(schedule)
            if last is None or not last.is_under_way:
                raise _not_found(schedule_id)
            return {"backfill": fields}

        await Schedules(self.parts).patch(org, schedule_id, patch_of)

    async def stop(self, org: str, schedule_id: str) -> None:
        """Make no more runs of it; those that go on, go on. Raises Problem 404 `BackfillNotFound`."""

        def patch_of(schedule: Json) -> Json:
            if schedule["spec"].get("backfill") is None:
                raise _not_found(schedule_id)
            return {"backfill": None}

        await Schedules(self.parts).patch(org, schedule_id, patch_of)

    async def show(self, org: str, schedule_id: str) -> BackfillStatus:
        """How far the schedule's backfill is, or its last one. Raises Problem 404 `BackfillNotFound`."""
        schedule = await Schedules(self.parts).find(org, schedule_id)
        last = last_backfill(schedule)
        if last is None:
            raise _not_found(schedule_id)
        asked, progress = last.spec or {}, last.progress
        return BackfillStatus(
            backfill_id=last.id,
            state=last.state.lower(),
            first=asked.get("from"),
            last=asked.get("to"),
            concurrency=asked.get("concurrency", 1) if asked else None,
            total=progress.get("total"),
            succeeded=progress.get("succeeded", 0),
            failed=progress.get("failed", 0),
            active=progress.get("active", 0),
            done_until=progress.get("doneUntil"),
            message=progress.get("message") or None,
            started_at=progress.get("startedAt"),
            completed_at=progress.get("completedAt"),
        )

    def _plan(self, schedule: Json, asked: BackfillSpec) -> BackfillPlan:
        spec = schedule["spec"]
        zone = spec.get("timeZone", "Etc/UTC")
        try:
            timetable = Timetable(spec["cronExpression"], zone)
        except ValueError as error:
            raise RequestInvalidError(f"the schedule itself can't be used: expected {error}") from None
        try:
            return plan_backfill(asked, timetable, zone, self.parts.now())
        except ValueError as error:
            field, _, words = str(error).partition(": ")
            given = {"from": asked.first, "to": asked.last}.get(field, "")
            raise invalid_fields(
                [{"field": field, "value": given, "expected": words.partition("expected ")[2] or words}]
            ) from None


def _no_ticks(asked: BackfillSpec, plan: BackfillPlan) -> Problem:
    expected = "a range in which the schedule has a tick"
    if plan.left_out:
        expected += " that isn't still to come"
    return invalid_fields([{"field": "to", "value": asked.last, "expected": expected}])


def _not_found(schedule_id: str) -> Problem:
    return Problem(404, "BackfillNotFound", f"No backfill is under way: {schedule_id[:64]}")
