"""Where ticks are counted from: an edit, or a clock that was set back, moves it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_core.schedules.decision import Missed, Needs
from pipeline_core.schedules.facts import DISABLED, MOST_TICKS, NO_NEEDS, Facts, observed_schedule, read_timetable, tell
from pipeline_core.schedules.observed import Backlog, MissedReason

# Clocks of two machines differ by less.
_SKEW = timedelta(minutes=1)
# A schedule without a status may be years old: nobody has looked, as its namespace wasn't watched, or the operator was
# of a version that makes no runs. A day is enough for what is applied while the operator is away.
_BEFORE_FIRST_LOOK = timedelta(days=1)
_EDITED = "cronExpression, timeZone or enabled was edited before the run was made; ticks up to an edit aren't made up"
_EDITED_TWICE = (
    "The schedule was edited more than once while no operator looked; it may have been disabled in between, so ticks "
    "up to the last edit aren't made up"
)


@dataclass(frozen=True, slots=True)
class Fence:
    """Every tick up to `handled_until` is seen to but those in the backlog. With needs, nothing is decided."""

    handled_until: datetime
    backlog: Backlog | None = None
    missed: tuple[Missed, ...] = ()
    needs: Needs = NO_NEEDS


def set_fence(facts: Facts) -> Fence:
    """The fence that holds at `now`."""
    schedule, status = facts.schedule, facts.schedule.status
    edited_at = min(schedule.edited_at, facts.second)
    if status.handled_until is None:
        # Nobody has looked at it before. If it was edited since it was made, its ticks before that were others.
        begins_at = schedule.created_at if schedule.generation <= 1 else max(schedule.created_at, edited_at)
        return _step_back(facts, Fence(max(begins_at, facts.second - _BEFORE_FIRST_LOOK)))
    fence = Fence(status.handled_until, status.backlog)
    if status.observed_schedule not in (None, observed_schedule(schedule.spec)):
        fence = _after_edit(facts, fence, edited_at, is_certain=True)
    elif schedule.spec.enabled and schedule.generation > status.observed_generation + 1 > 1:
        # Edited twice since it was looked at: it may have been disabled and enabled again, or been another and back.
        fence = _after_edit(facts, fence, edited_at, is_certain=False)
    return fence if fence.needs else _step_back(facts, fence)


def _after_edit(facts: Facts, fence: Fence, edited_at: datetime, *, is_certain: bool) -> Fence:
    """Ticks up to the edit aren't made any more, nor is the backlog, unless the edit may have been of something else
    and no tick fell before it."""
    moved_to = max(fence.handled_until, edited_at)
    expression, _, zone = (facts.schedule.status.observed_schedule or DISABLED).rpartition(" ")
    timetable = read_timetable(expression, zone)[0] if expression else None
    if timetable is None:
        return Fence(moved_to)
    ticks = timetable.last(fence.handled_until, moved_to, MOST_TICKS) if moved_to > fence.handled_until else []
    if not is_certain and not ticks:
        return Fence(moved_to, fence.backlog)
    backlog = fence.backlog
    waiting = timetable.last(backlog.after, backlog.until, MOST_TICKS) if backlog else []
    needs = Needs(outcomes=facts.unsure_ticks([*waiting, *facts.doubtful(ticks)]))
    message = _EDITED if is_certain else _EDITED_TWICE
    missed = tell(MissedReason.EDITED, facts.unmade([*waiting, *ticks]), message)
    return Fence(moved_to, None, tuple(missed), needs)


def _step_back(facts: Facts, fence: Fence) -> Fence:
    """Where the clock was set back, count from now: else there would be no run until it is that late again.

    Ticks that come a second time have their run already, which is found by its id.
    """
    if fence.handled_until <= facts.now + _SKEW:
        return fence
    backlog = fence.backlog
    if backlog is not None and backlog.until > facts.second:
        # They are to come, and are made when they are due.
        backlog = Backlog(backlog.after, facts.second) if backlog.after < facts.second else None
    return Fence(facts.second, backlog, fence.missed)
