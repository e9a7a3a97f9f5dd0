"""Begins, changes, stops and shows the backfill of a schedule: a field of its spec, which the operator carries out."""

from collections.abc import Callable
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
from pipeline_bridge.planning import plan_of_backfill, source_of
from pipeline_bridge.problems import Problem
from pipeline_bridge.schedule_checks import check_unmanaged, plan_of
from pipeline_bridge.schedules import Schedules
from pipeline_core.errors import RequestInvalidError
from pipeline_core.kube.api import Json
from pipeline_core.schedules.asking import LastBackfill, beginning, last_backfill
from pipeline_core.schedules.backfill import default_id
from pipeline_core.schedules.backfill_quota import backfill_quota
from pipeline_core.schedules.observed import BackfillSpec


@dataclass(frozen=True, slots=True)
class Backfills:
    """The backfills of an organization's schedules: each has one at a time.

    Every method raises KubeError, KubeUnavailableError and Problem 404 `ScheduleNotFound`; those that change something
    raise Problem 409 `ManagedByGitOps` and `Conflict` as well, the latter also where the schedule's times or its
    backfill are others by the time something would be written.
    """

    parts: Parts

    async def begin(self, org: str, schedule_id: str, wanted: BackfillRequest) -> BackfillBegun:
        """Begin the backfill, unless it is there; with `dry_run` only say what it would be, wherever it is kept.

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
        if not wanted.dry_run:
            check_unmanaged(schedule)
        source = source_of(schedule)
        plan = await plan_of_backfill(org, source, asked, self.parts.now())
        plan_of(self.parts, schedule["spec"], plan.first)
        standing = await self.parts.ledger.standing(org)  # before anything is written: the answer has it

        def patch_of(schedule: Json) -> Json | None:
            if source_of(schedule) != source:
                raise _changed(schedule, "its times were changed", "see what the backfill would be now")
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
        await self._patch_last(org, schedule_id, lambda last: {"backfill": fields} if last.is_under_way else None)

    async def stop(self, org: str, schedule_id: str) -> None:
        """Make no more runs of it; those that go on, go on. Raises Problem 404 `BackfillNotFound`."""
        await self._patch_last(org, schedule_id, lambda last: {"backfill": None} if last.spec is not None else None)

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

    async def _patch_last(self, org: str, schedule_id: str, patch_of: Callable[[LastBackfill], Json | None]) -> None:
        """Write what is said of the schedule's backfill, and of no other that takes its place meanwhile; None: 404."""
        meant: str | None = None

        def patch_of_meant(schedule: Json) -> Json:
            nonlocal meant
            last = last_backfill(schedule)
            patch = None if last is None else patch_of(last)
            if last is None or patch is None:
                raise _not_found(schedule_id)
            meant = meant or last.id
            if last.id != meant:
                raise _changed(schedule, f"its backfill is {last.id}, no longer {meant}", "look at it first")
            return patch

        await Schedules(self.parts).patch(org, schedule_id, patch_of_meant)


def _changed(schedule: Json, how: str, advice: str) -> Problem:
    return Problem(409, "Conflict", f"Schedule {schedule['metadata']['name']} was changed meanwhile: {how}; {advice}")


def _not_found(schedule_id: str) -> Problem:
    return Problem(404, "BackfillNotFound", f"No backfill is under way: {schedule_id[:64]}")
