"""Asks for a backfill: what has to be written into a PipelineSchedule for it, by the backfill that the schedule has.

Objects are as the API server has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline_core.errors import PipelinesError
from pipeline_core.schedules.backfill import default_id
from pipeline_core.schedules.observed import BackfillSpec

PENDING, COMPLETED, STOPPED, INVALID = "Pending", "Completed", "Stopped", "Invalid"


class BackfillUnderWayError(PipelinesError):
    """Another backfill of the schedule hasn't ended yet."""

    reason = "BackfillUnderWay"

    def __init__(self, backfill_id: str, schedule: str) -> None:
        super().__init__(
            f"Backfill {backfill_id} of schedule {schedule} is under way: expected it to end, or to be stopped, before "
            "another begins",
            title="Another backfill is under way",
        )


class BackfillIdUsedError(PipelinesError):
    """The id is that of the schedule's last backfill, so nothing would begin."""

    reason = "BackfillIdUsed"

    def __init__(self, backfill_id: str, why: str) -> None:
        super().__init__(
            f"id: {backfill_id!r} is that of the schedule's last backfill, and {why}: expected another id",
            title="The backfill's id was used",
        )


@dataclass(frozen=True, slots=True)
class LastBackfill:
    """The backfill that a schedule has, or that it had last.

    `state` is the operator's word, or Pending before it has seen the backfill. `range` is `<from>/<to>`, or ""
    where nobody knows any more. `spec` is `spec.backfill`, None where it was taken away; `progress` is
    `status.backfill`, where that is of this one: of its id, and of its range as far as it says which.
    """

    id: str
    state: str
    range: str
    spec: Mapping[str, Any] | None
    progress: Mapping[str, Any]

    @property
    def is_under_way(self) -> bool:
        """Whether it may still make runs."""
        return self.spec is not None and self.state not in {COMPLETED, INVALID}


def last_backfill(schedule: Mapping[str, Any]) -> LastBackfill | None:
    """The schedule's backfill; None where there was none yet."""
    spec, progress = schedule["spec"].get("backfill"), (schedule.get("status") or {}).get("backfill") or {}
    if spec is None:
        of_it = (progress.get("covers") or "").partition(" ")[0]
        return LastBackfill(progress["id"], progress["state"], of_it, None, progress) if progress else None
    backfill_id = spec.get("id") or default_id(spec["from"], spec["to"])
    if progress.get("id") != backfill_id or not _is_of_range(progress, spec):
        progress = {}
    # One that was stopped is put back, which the operator hasn't seen yet.
    state = progress.get("state", STOPPED)
    return LastBackfill(
        backfill_id, PENDING if state == STOPPED else state, f"{spec['from']}/{spec['to']}", spec, progress
    )


def _is_of_range(progress: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Whether the progress is that of the spec's range: an id may be corrected to stand for another one."""
    covers = progress.get("covers") or ""
    return not covers or covers.startswith(f"{spec['from']}/{spec['to']} ")


def beginning(
    asked: BackfillSpec, schedule: Mapping[str, Any], *, keeps_concurrency: bool = False
) -> dict[str, Any] | None:
    """What to merge into `spec.backfill` so that the backfill is there; None where it is.

    One that was stopped goes on where it was. With `keeps_concurrency`, that of one that is there is as good as the one
    asked for. Raises BackfillUnderWayError and BackfillIdUsedError.
    """
    last = last_backfill(schedule)
    if last is not None and last.id == asked.id and last.state != INVALID:
        if last.range not in {"", f"{asked.first}/{asked.last}"}:
            raise BackfillIdUsedError(asked.id, f"its range is {last.range.replace('/', ' to ')}")
        if last.spec is not None:
            is_as_asked = keeps_concurrency or last.spec.get("concurrency", 1) == asked.concurrency
            return None if is_as_asked else {"concurrency": asked.concurrency}
        if last.state == COMPLETED:
            raise BackfillIdUsedError(asked.id, "it is completed")
    elif last is not None and last.is_under_way:
        raise BackfillUnderWayError(last.id, schedule["metadata"]["name"])
    # All of it, as it is merged into what may be there of one that is over.
    return {"id": asked.id, "from": asked.first, "to": asked.last, "concurrency": asked.concurrency, "paused": False}
