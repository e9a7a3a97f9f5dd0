"""Which runs' objects are kept, and what the status says of the last one that ended."""

from collections.abc import Sequence
from datetime import datetime

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.decision import Prune
from pipeline_core.schedules.observed import Cause, ScheduledRun, ScheduleSpec, ScheduleStatus


def last_end(runs: Sequence[ScheduledRun], status: ScheduleStatus) -> tuple[Phase | None, datetime | None]:
    """The outcome and the time of the newest end ever seen; that of the status, where its run's object is gone."""
    ends = [(run.completed_at, run.run_id, run.phase) for run in runs if run.is_over and run.completed_at is not None]
    if not ends:
        return status.last_outcome, status.last_ended_at
    completed_at, _, phase = max(ends)
    if status.last_ended_at is not None and completed_at <= status.last_ended_at:
        return status.last_outcome, status.last_ended_at
    return phase, completed_at


def prunes(runs: Sequence[ScheduledRun], spec: ScheduleSpec, status: ScheduleStatus) -> list[Prune]:
    """The objects beyond the newest that are kept of each kind; of `status` as it is to be written before."""
    settled = [run for run in runs if run.is_over and run.is_settled]
    completed = [run for run in settled if run.phase is Phase.COMPLETED]
    others = [run for run in settled if run.phase is not Phase.COMPLETED]
    beyond = [*_newest_first(completed)[spec.keep_successful :], *_newest_first(others)[spec.keep_failed :]]
    return [Prune(run.name, run.uid) for run in beyond if not _is_needed(run, status)]


def _newest_first(runs: Sequence[ScheduledRun]) -> list[ScheduledRun]:
    return sorted(runs, key=lambda run: (run.completed_at or run.created_at, run.run_id), reverse=True)


def _is_needed(run: ScheduledRun, status: ScheduleStatus) -> bool:
    """Whether the status doesn't say yet that the run is made and counted."""
    if run.tick is None:
        return False
    if run.cause is Cause.BACKFILL:
        progress = status.backfill
        if progress is None or progress.id != run.backfill_id or progress.state in {"Completed", "Stopped"}:
            return False
        return progress.done_until is None or run.tick > progress.done_until
    if status.handled_until is None or run.tick > status.handled_until:
        return True
    return status.backlog is not None and status.backlog.after < run.tick <= status.backlog.until
