"""When a schedule's next tick is due, whatever is decided about it."""

from datetime import datetime

from pipeline_core.schedules.facts import read_timetable
from pipeline_core.schedules.observed import Schedule
from pipeline_core.schedules.stagger import lateness


def next_due(schedule: Schedule, now: datetime) -> datetime | None:
    """After `now`; None: never again, or not as the schedule is."""
    spec = schedule.spec
    timetable, _ = read_timetable(spec.cron_expression, spec.time_zone)
    if timetable is None or not spec.enabled or schedule.deleting:
        return None
    late = lateness(schedule)
    tick = timetable.next(now - late)
    return None if tick is None else tick + late
