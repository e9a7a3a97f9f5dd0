"""Builds the status of a PipelineSchedule, and the patch that makes the object's status say it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline_core.schedules.observed import Schedule, ScheduleStatus
from pipeline_operator import status
from pipeline_operator.status import Status, format_time

# Of crds/pipelineschedules.yaml.
_MESSAGE_MAX = 1024


def build_status(schedule: Schedule, wanted: ScheduleStatus) -> Status:
    """Every field; None for one that isn't to be there."""
    missed, backlog, backfill = wanted.last_missed, wanted.backlog, wanted.backfill
    return {
        "observedGeneration": wanted.observed_generation,
        "observedSchedule": wanted.observed_schedule,
        "handledUntil": _time(wanted.handled_until),
        "lastRunAt": _time(wanted.last_run_at),
        "nextRunAt": _time(wanted.next_run_at),
        "active": wanted.active,
        "lastOutcome": wanted.last_outcome.value if wanted.last_outcome else None,
        "lastEndedAt": _time(wanted.last_ended_at),
        "missed": wanted.missed,
        "lastMissed": missed
        and {"tick": _time(missed.tick), "reason": str(missed.reason), "message": missed.message[:_MESSAGE_MAX]},
        "backlog": backlog and {"after": _time(backlog.after), "until": _time(backlog.until)},
        "backfill": backfill
        and _without_none(
            id=backfill.id,
            state=backfill.state,
            total=backfill.total,
            succeeded=backfill.succeeded,
            failed=backfill.failed,
            active=backfill.active,
            doneUntil=_time(backfill.done_until),
            message=backfill.message[:_MESSAGE_MAX] or None,
            startedAt=_time(backfill.started_at),
            completedAt=_time(backfill.completed_at),
            covers=backfill.covers or None,
        ),
        "handledTrigger": wanted.handled_trigger,
        "conditions": [
            status.condition(
                each.type, "True" if each.is_true else "False", each.reason, each.message, schedule.generation
            )
            for each in wanted.conditions
        ],
    }


def difference(current: Mapping[str, Any], wanted: Status, now: datetime) -> Status | None:
    """The merge patch that turns `current` into `wanted`, or None where nothing would change."""
    patch = status.merge(current, wanted, now)
    if patch is None:
        return None
    for name, value in patch.items():
        before = current.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            # It is merged as well: what isn't named would stay.
            patch[name] = {**{key: None for key in before if key not in value}, **value}
    return patch


def _time(moment: datetime | None) -> str | None:
    return format_time(moment) if moment else None


def _without_none(**fields: object) -> Status:
    return {name: value for name, value in fields.items() if value is not None}
