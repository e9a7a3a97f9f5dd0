"""Carries a backfill on: its runs in order, so many at a time, counted as they end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.allowance import RECHECK, RETRY, SOON, STORE_AWAY, allow, earliest
from pipeline_core.schedules.backfill import MAX_CONCURRENCY, MAX_TICKS, bounds, count_backfill, count_ticks
from pipeline_core.schedules.decision import Make, Needs
from pipeline_core.schedules.facts import NO_NEEDS, Facts
from pipeline_core.schedules.ids import backfill_run_id, backfill_run_name
from pipeline_core.schedules.observed import BackfillProgress, BackfillSpec, Cause
from pipeline_core.schedules.timetable import Timetable

# How much lower than the schedule's live ticks, and than those it catches up.
BELOW = 200
RUNNING, WAITING, PAUSED = "Running", "Waiting", "Paused"
COMPLETED, STOPPED, INVALID = "Completed", "Stopped", "Invalid"
_OTHERS = "Waiting for the runs of an earlier backfill to end"
_INSTANT = timedelta(microseconds=1)
# Ticks looked at beyond those that are under way: a few, or many where those are all done with.
_WINDOW, _WIDE_WINDOW = 4, 500
_WINDOWS = 2  # that are asked about in one pass


@dataclass(frozen=True, slots=True)
class Backfill:
    """What becomes of the backfill. With needs, nothing is decided."""

    progress: BackfillProgress | None
    makes: tuple[Make, ...] = ()
    look_again_at: datetime | None = None
    needs: Needs = NO_NEEDS


def carry_on(facts: Facts, taken: int = 0) -> Backfill:
    """Go on with `spec.backfill`; `taken` runs of the organization's room are promised already."""
    spec, progress = facts.spec.backfill, facts.schedule.status.backfill
    if spec is None:
        return Backfill(_without(facts, progress))
    if facts.timetable is None:
        return Backfill(_wait_for_timetable(facts, spec, progress))
    if progress is not None and progress.id == spec.id and _is_settled(facts, spec, progress):
        return Backfill(replace(progress, active=_active(facts, spec.id)))
    progress = _begin(facts, spec, facts.timetable, progress)
    if progress.state in {INVALID, COMPLETED}:
        return Backfill(progress)
    return _go_on(facts, spec, facts.timetable, progress, taken)


def _covers(facts: Facts, spec: BackfillSpec) -> str:
    expression = " ".join(facts.spec.cron_expression.split())
    return f"{spec.first}/{spec.last} {expression} {facts.spec.time_zone}"


def _is_same_range(spec: BackfillSpec, progress: BackfillProgress) -> bool:
    return not progress.covers or progress.covers.startswith(f"{spec.first}/{spec.last} ")


def _active(facts: Facts, backfill_id: str) -> int:
    return sum(run.backfill_id == backfill_id for run in facts.unended(Cause.BACKFILL))


def _without(facts: Facts, progress: BackfillProgress | None) -> BackfillProgress | None:
    """It was taken from the spec: the runs it has made go on."""
    if progress is None or progress.state == COMPLETED:
        return progress
    message = "Removed from the spec; put back with the same id, from and to, it goes on where it was"
    return replace(progress, state=STOPPED, active=_active(facts, progress.id), message=message)


def _wait_for_timetable(facts: Facts, spec: BackfillSpec, progress: BackfillProgress | None) -> BackfillProgress:
    if progress is None or progress.id != spec.id:
        progress = BackfillProgress(spec.id, WAITING, 0)
    if progress.state == COMPLETED:
        return progress
    return replace(
        progress,
        state=PAUSED if spec.paused else WAITING,
        active=_active(facts, spec.id),
        message=facts.problem[1] if facts.problem else "",
    )


def _is_settled(facts: Facts, spec: BackfillSpec, progress: BackfillProgress) -> bool:
    """Whether nothing is left to be done. What ended stays so when the expression is edited, but not the range."""
    if progress.state == COMPLETED:
        return _is_same_range(spec, progress)
    return progress.state == INVALID and progress.covers == _covers(facts, spec)


def _begin(
    facts: Facts, spec: BackfillSpec, timetable: Timetable, progress: BackfillProgress | None
) -> BackfillProgress:
    """The progress as it was; or that of another range or expression.

    Another range begins anew: runs of its ticks that have this backfill's id are found and counted, not made again.
    With another expression the rest of the range, after `done_until`, is that of the new one.
    """
    covers = _covers(facts, spec)
    is_begun = progress is not None and progress.id == spec.id and progress.started_at and progress.state != INVALID
    if progress is not None and is_begun and _is_same_range(spec, progress):
        return progress if progress.covers == covers else _recount(facts, spec, timetable, progress)
    progress = BackfillProgress(spec.id, RUNNING, 0, started_at=facts.second, covers=covers)
    try:
        total = count_backfill(spec, timetable, facts.spec.time_zone, facts.second)
    except ValueError as error:
        return replace(progress, state=INVALID, message=f"spec.backfill.{error}", started_at=None)
    return replace(progress, total=total)


def _recount(facts: Facts, spec: BackfillSpec, timetable: Timetable, progress: BackfillProgress) -> BackfillProgress:
    done = progress.succeeded + progress.failed
    progress = replace(progress, covers=_covers(facts, spec))
    try:
        after, until = _rest(facts, spec, progress)
    except ValueError as error:
        return replace(progress, state=INVALID, message=f"spec.backfill.{error}")
    left = count_ticks(timetable, after, until)
    if done + left > MAX_TICKS:
        message = f"expected at most {MAX_TICKS} ticks; with the expression as it is now there are more"
        return replace(progress, state=INVALID, message=f"spec.backfill.to: {spec.last}, {message}")
    return replace(progress, total=done + left)


def _rest(facts: Facts, spec: BackfillSpec, progress: BackfillProgress) -> tuple[datetime, datetime]:
    """What is left of the range, as (after, until]: none that was to come when it began."""
    start, end = bounds(spec, facts.spec.time_zone)
    return progress.done_until or start - _INSTANT, min(end, progress.started_at or facts.second)


def _go_on(facts: Facts, spec: BackfillSpec, timetable: Timetable, progress: BackfillProgress, taken: int) -> Backfill:
    try:
        _, until = _rest(facts, spec, progress)
    except ValueError as error:  # a zone that makes `to` come before `from`
        return Backfill(replace(progress, state=INVALID, message=f"spec.backfill.{error}"))
    if facts.known.is_store_away:
        return _rest_a_while(facts, spec, progress, STORE_AWAY, RETRY)
    concurrency = max(1, min(spec.concurrency, MAX_CONCURRENCY))
    progress, window, needs = _count(facts, spec, timetable, progress, concurrency * _WINDOW)
    if needs:
        return Backfill(progress, needs=needs)
    if window is None:
        return _rest_a_while(facts, spec, progress, "", SOON)
    if not window:
        return Backfill(_complete(facts, spec, timetable, progress, until))
    run_ids = {tick: backfill_run_id(facts.schedule.uid, spec.id, tick) for tick in window}
    orphans = sum(facts.is_orphan(run_id) for run_id in run_ids.values())
    others = len(facts.unended(Cause.BACKFILL)) + orphans
    active = _active(facts, spec.id) + orphans
    unmade = [tick for tick, run_id in run_ids.items() if facts.phase(run_id) is None]
    wanted = [] if spec.paused else unmade[: max(concurrency - others, 0)]
    allowance = allow(facts, len(wanted), taken)
    makes = tuple(_make(facts, spec.id, run_ids[tick], tick) for tick in wanted[: allowance.runs])
    active += len(makes)
    is_waiting = not active and not spec.paused
    why = allowance.message if wanted else _OTHERS
    progress = replace(
        progress,
        state=PAUSED if spec.paused else WAITING if is_waiting else RUNNING,
        active=active,
        message=why if is_waiting else "",
    )
    again_at = earliest(allowance.again_at, facts.second + RECHECK if orphans else None)
    return Backfill(progress, makes, again_at, allowance.needs)


def _rest_a_while(
    facts: Facts, spec: BackfillSpec, progress: BackfillProgress, message: str, wait: timedelta
) -> Backfill:
    """Make nothing in this pass, and go on from this progress in the next one; `message` is what it waits for."""
    active = _active(facts, spec.id)
    is_waiting = bool(message) and not active and not spec.paused
    progress = replace(
        progress,
        state=PAUSED if spec.paused else WAITING if is_waiting else RUNNING,
        active=active,
        message=message if is_waiting else "",
    )
    return Backfill(progress, look_again_at=facts.second + wait)


def _count(
    facts: Facts, spec: BackfillSpec, timetable: Timetable, progress: BackfillProgress, width: int
) -> tuple[BackfillProgress, Sequence[datetime] | None, Needs]:
    """Count the runs that have ended, in order, up to the first that hasn't; and give the ticks from that one on.

    They are None where those that are known have all ended: a few are asked about in one pass, then many, and no more.
    What was counted is kept by the status, so that each pass goes further, however many there are.
    """
    windows = 0
    while True:
        window = timetable.upcoming(*_rest(facts, spec, progress), width)
        phases: list[Phase | None] = []
        run_ids = [backfill_run_id(facts.schedule.uid, spec.id, tick) for tick in window]
        unsure = facts.unsure(run_ids)
        if unsure:
            return (progress, window, Needs(outcomes=unsure)) if windows < _WINDOWS else (progress, None, Needs())
        for phase in map(facts.phase, run_ids):
            if phase is None or not phase.is_final:
                break
            phases.append(phase)
        if not phases:
            return progress, window, Needs()
        succeeded = phases.count(Phase.COMPLETED)
        progress = replace(
            progress,
            succeeded=progress.succeeded + succeeded,
            failed=progress.failed + len(phases) - succeeded,
            done_until=window[len(phases) - 1],
        )
        if len(phases) == len(window):
            width = _WIDE_WINDOW
        windows += 1


def _complete(
    facts: Facts, spec: BackfillSpec, timetable: Timetable, progress: BackfillProgress, until: datetime
) -> BackfillProgress:
    message = "" if progress.total else "No tick of the schedule is in the range"
    _, end = bounds(spec, facts.spec.time_zone)
    first_left_out = timetable.next(until) if end > until else None
    if first_left_out is not None and first_left_out <= end:
        left_out = f"Ticks after {until:%Y-%m-%dT%H:%M:%SZ}, when it began, are the schedule's own"
        message = f"{message}. {left_out}" if message else left_out
    return replace(progress, state=COMPLETED, active=0, message=message, completed_at=facts.second)


def _make(facts: Facts, backfill_id: str, run_id: str, tick: datetime) -> Make:
    name = backfill_run_name(facts.schedule.name, backfill_id, tick, run_id)
    return Make(run_id, name, Cause.BACKFILL, tick, facts.second, facts.priority(BELOW), backfill_id)
