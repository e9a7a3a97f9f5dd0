"""Reads PipelineSchedules, and what a run tells of the schedule that it was made for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_core.kube import names
from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.backfill import default_id
from pipeline_core.schedules.ids import backfill_run_id, tick_run_id
from pipeline_core.schedules.observed import (
    BackfillProgress,
    BackfillSpec,
    Backlog,
    CatchUp,
    Cause,
    ConcurrencyPolicy,
    ConditionValue,
    LastMissed,
    Schedule,
    ScheduleSpec,
    ScheduleStatus,
)

Body = Mapping[str, Any]

# Of crds/pipelineschedules.yaml: staggerSeconds.
_LATEST_DUE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class MadeFor:
    """What of a schedule a run was made for. `due_at` is known of a tick's run alone, and only where it makes sense."""

    cause: Cause
    tick: datetime | None = None
    due_at: datetime | None = None
    backfill_id: str | None = None


TRIGGERED = MadeFor(Cause.TRIGGER)


def parse_schedule(body: Body) -> Schedule:
    """A PipelineSchedule that has passed the CRD's schema, and its status, which the operator alone writes.

    Raises KeyError, TypeError or ValueError for one that hasn't.
    """
    metadata = body["metadata"]
    annotations = metadata.get("annotations") or {}
    return Schedule(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 1),
        created_at=_time(metadata["creationTimestamp"]),
        edited_at=_edited_at(metadata),
        spec=_spec(body["spec"]),
        status=_status(body.get("status") or {}),
        deleting="deletionTimestamp" in metadata,
        trigger=annotations.get(names.ANNOTATION_TRIGGER) or None,
    )


def parse_made_for(body: Body, run: Run) -> MadeFor:
    """What the run of a schedule was made for, by its id, which nobody can give to another run of the schedule.

    Annotations are anyone's to write: of two causes that have one id they tell which it was, and no more.
    """
    uid, tick = run.spec.schedule_uid, _whole_minute(run.spec.logical_time)
    if uid is None or tick is None:
        return TRIGGERED
    metadata = body["metadata"]
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    if run.run_id == tick_run_id(uid, tick):
        if annotations.get(names.ANNOTATION_CAUSE) == Cause.CATCH_UP:
            return MadeFor(Cause.CATCH_UP, tick)
        return MadeFor(Cause.TICK, tick, _due_at(annotations.get(names.ANNOTATION_DUE_AT), tick))
    backfill_id = labels.get(names.LABEL_BACKFILL)
    if backfill_id and run.run_id == backfill_run_id(uid, backfill_id, tick):
        return MadeFor(Cause.BACKFILL, tick, backfill_id=backfill_id)
    return TRIGGERED


def _edited_at(metadata: Body) -> datetime:
    """When spec or metadata were changed last: writes of the status are entries of their own."""
    fields = metadata.get("managedFields") or ()
    times = [_time(each["time"]) for each in fields if each.get("time") and not each.get("subresource")]
    return max(times, default=_time(metadata["creationTimestamp"]))


def _spec(spec: Body) -> ScheduleSpec:
    deadline = spec.get("startingDeadlineSeconds")
    return ScheduleSpec(
        org=spec["org"],
        provider=spec["provider"],
        domain=spec["domain"],
        pipeline=spec["pipeline"],
        cron_expression=spec["cronExpression"],
        time_zone=spec.get("timeZone", "Etc/UTC"),
        enabled=bool(spec.get("enabled", True)),
        parameters=spec.get("parameters") or {},
        concurrency_policy=ConcurrencyPolicy(spec.get("concurrencyPolicy", "Forbid")),
        starting_deadline=None if deadline is None else timedelta(seconds=deadline),
        catch_up=CatchUp(spec.get("catchUp", "Latest")),
        catch_up_limit=spec.get("catchUpLimit", 100),
        stagger_seconds=spec.get("staggerSeconds", 0),
        keep_successful=spec.get("successfulRunsHistoryLimit", 3),
        keep_failed=spec.get("failedRunsHistoryLimit", 3),
        run_template=spec.get("runTemplate") or {},
        backfill=_backfill(spec.get("backfill")),
    )


def _backfill(spec: Body | None) -> BackfillSpec | None:
    if spec is None:
        return None
    first, last = spec["from"], spec["to"]
    return BackfillSpec(
        id=spec.get("id") or default_id(first, last),
        first=first,
        last=last,
        concurrency=spec.get("concurrency", 1),
        paused=bool(spec.get("paused")),
    )


def _status(status: Body) -> ScheduleStatus:
    missed, backlog = status.get("lastMissed"), status.get("backlog")
    outcome, backfill = status.get("lastOutcome"), status.get("backfill")
    return ScheduleStatus(
        observed_generation=status.get("observedGeneration", 0),
        observed_schedule=status.get("observedSchedule"),
        handled_until=_maybe(status.get("handledUntil")),
        last_run_at=_maybe(status.get("lastRunAt")),
        next_run_at=_maybe(status.get("nextRunAt")),
        active=status.get("active", 0),
        last_outcome=Phase(outcome) if outcome else None,
        last_ended_at=_maybe(status.get("lastEndedAt")),
        missed=status.get("missed", 0),
        last_missed=LastMissed(_time(missed["tick"]), missed["reason"], missed["message"]) if missed else None,
        backlog=Backlog(_time(backlog["after"]), _time(backlog["until"])) if backlog else None,
        backfill=_progress(backfill) if backfill else None,
        handled_trigger=status.get("handledTrigger"),
        conditions=tuple(
            ConditionValue(each["type"], each["status"] == "True", each["reason"], each["message"])
            for each in status.get("conditions") or ()
        ),
    )


def _progress(backfill: Body) -> BackfillProgress:
    return BackfillProgress(
        id=backfill["id"],
        state=backfill["state"],
        total=backfill.get("total", 0),
        succeeded=backfill.get("succeeded", 0),
        failed=backfill.get("failed", 0),
        active=backfill.get("active", 0),
        done_until=_maybe(backfill.get("doneUntil")),
        message=backfill.get("message", ""),
        started_at=_maybe(backfill.get("startedAt")),
        completed_at=_maybe(backfill.get("completedAt")),
        covers=backfill.get("covers", ""),
    )


def _time(text: str) -> datetime:
    """Raises ValueError for what is no time, or has no zone."""
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError(f"the time {text!r:.40} has no zone")
    return moment.astimezone(UTC)


def _maybe(text: str | None) -> datetime | None:
    return _time(text) if text else None


def _whole_minute(text: str | None) -> datetime | None:
    """The time, if it can be a tick."""
    try:
        moment = _maybe(text)
    except (ValueError, OverflowError):
        return None
    return moment if moment is not None and not (moment.second or moment.microsecond) else None


def _due_at(text: object, tick: datetime) -> datetime | None:
    try:
        moment = _time(text) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None
    return moment if moment is not None and tick <= moment <= tick + _LATEST_DUE else None
