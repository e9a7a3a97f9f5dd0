"""The runs of a schedule, as the runs' cache has them."""

from pipeline_core.lifecycle.observed import Run, is_at_rest
from pipeline_core.schedules.observed import Schedule, ScheduledRun
from pipeline_operator.cache import Cache
from pipeline_operator.entry import Entry
from pipeline_operator.schedules.parsing import TRIGGERED


class ScheduledRuns:
    """What `decide` is told of the runs that have an object."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def of(self, schedule: Schedule) -> list[ScheduledRun]:
        """The runs that name the schedule; those that leave its UID out count as triggered."""
        return [
            _scheduled(entry, run)
            for entry in self._cache.of_schedule(schedule.namespace, schedule.name)
            if (run := entry.run) is not None
            and run.spec.org == schedule.spec.org
            and run.spec.schedule_uid in {None, schedule.uid}
        ]

    def are_seen_to(self, schedule: Schedule) -> bool:
        """Whether no run of it goes on for all that is known, while its end hasn't been looked for by this process."""
        entries = self._cache.of_schedule(schedule.namespace, schedule.name)
        return all(entry.seen_to for entry in entries if entry.run is not None and not entry.run.is_over)


def _scheduled(entry: Entry, run: Run) -> ScheduledRun:
    made_for = entry.made_for or TRIGGERED
    return ScheduledRun(
        run_id=run.run_id,
        name=run.name,
        uid=run.uid,
        cause=made_for.cause,
        created_at=run.created_at,
        tick=made_for.tick,
        backfill_id=made_for.backfill_id,
        phase=run.status.phase,
        completed_at=run.status.completed_at,
        is_cancelled=run.spec.cancel,
        is_settled=run.is_over and not entry.holds_slot and is_at_rest(entry.job, entry.pods.values()),
    )
