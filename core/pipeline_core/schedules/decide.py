"""Decides what to do next about one schedule: pure, total, and the same answer for the same facts.

Every answer is safe to carry out twice, and to carry out in part: until the status says that a tick is seen to, it is
seen to again, with runs of the same ids. Where the rules leave something open, first no tick is missed, then none has
two runs, then nobody is surprised:

- A tick at the very second of an edit is before it; so is one whose staggered run was due after the edit. Both are told
  as missed. Where the generation tells of two edits since the schedule was looked at, it may have been disabled in
  between: ticks up to the last edit count as before it, too.
- With `catchUp: All`, a tick that Forbid would skip joins the backlog while there is one. A tick that is missed because
  no run may be made takes the backlog with it. So no tick that was counted as missed has a run made later.
- What was counted as missed while the clock was ahead has its run when the clock, set back, comes to it.
- A schedule that nobody has seen begins a day before it is seen, or when it was made if that is later.
- While PostgreSQL is away, ticks go on as far as nothing has to be asked; all else waits.
- A backfill is what its id, `from` and `to` say, and ends with the ticks there were when it began.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pipeline_core.schedules.allowance import RECHECK, earliest
from pipeline_core.schedules.backfilling import Backfill, carry_on
from pipeline_core.schedules.backlog import Work, work_off
from pipeline_core.schedules.conditions import conditions, is_inactive, recheck
from pipeline_core.schedules.decision import Decision, Known, Make, Missed, Needs
from pipeline_core.schedules.facts import Facts, gather, merge, observed_schedule
from pipeline_core.schedules.fence import set_fence
from pipeline_core.schedules.history import last_end, prunes
from pipeline_core.schedules.observed import LastMissed, Schedule, ScheduledRun, ScheduleStatus
from pipeline_core.schedules.ticks import Live, decide_ticks
from pipeline_core.schedules.trigger import Trigger, pull


def decide(schedule: Schedule, runs: Sequence[ScheduledRun], now: datetime, known: Known) -> Decision:
    """What to do about the schedule, whose own `runs` are those that have an object, at `now` (aware, in UTC).

    With needs in the answer nothing is decided: look them up and ask again. Nothing is done about a schedule that is
    being deleted.
    """
    if schedule.deleting:
        return Decision(schedule.status)
    facts = gather(schedule, runs, now, known)
    fence = set_fence(facts)
    live = decide_ticks(facts, fence.handled_until, fence.backlog) if not fence.needs else _undecided(fence.needs, now)
    work = work_off(facts, live.backlog, is_live=bool(live.makes)) if not live.needs else Work(None)
    backfill = carry_on(facts, taken=len(work.makes))
    trigger = pull(facts)
    needs = merge(live.needs, work.needs, backfill.needs, trigger.needs, recheck(facts))
    if needs:
        return Decision(schedule.status, needs=needs)
    makes = (*live.makes, *work.makes, *backfill.makes, *trigger.makes)
    missed = _by_reason((*fence.missed, *live.missed, *work.missed, *trigger.missed))
    next_due = _next_due(facts, live.handled_until)
    status = _status(facts, live, work, backfill, trigger, makes, missed, next_due)
    return Decision(
        status,
        makes,
        live.cancels,
        prunes(runs, schedule.spec, status),
        missed,
        earliest(
            next_due,
            work.look_again_at,
            backfill.look_again_at,
            trigger.look_again_at,
            facts.second + RECHECK if is_inactive(status.conditions) else None,
        ),
    )


def _undecided(needs: Needs, now: datetime) -> Live:
    return Live(now, None, needs=needs)


def _by_reason(missed: Sequence[Missed]) -> tuple[Missed, ...]:
    """One of each reason and message."""
    told: dict[tuple[str, str], Missed] = {}
    for each in missed:
        before = told.get((each.reason, each.message))
        if before is not None:
            each = replace(each, count=before.count + each.count, newest=max(before.newest, each.newest))
        told[each.reason, each.message] = each
    return tuple(told.values())


def _next_due(facts: Facts, handled_until: datetime) -> datetime | None:
    """When the first tick is due that isn't seen to: after now, as those due now are. None: never, or not as it is."""
    if facts.timetable is None or not facts.spec.enabled:
        return None
    tick = facts.timetable.next(handled_until)
    return None if tick is None else facts.due(tick)


def _status(
    facts: Facts,
    live: Live,
    work: Work,
    backfill: Backfill,
    trigger: Trigger,
    makes: Sequence[Make],
    missed: Sequence[Missed],
    next_due: datetime | None,
) -> ScheduleStatus:
    before, spec = facts.schedule.status, facts.spec
    last_outcome, last_ended_at = last_end(facts.runs, before)
    made_at = [facts.second] if makes else []
    # By our clock a run isn't made before its tick: where ours is ahead of the API server's, and was set back since,
    # this tells that the tick had its run.
    made_at += [max(run.created_at, run.tick or run.created_at) for run in facts.runs]
    # A run counts from the pass that makes it: its object brings nothing new then.
    active = {run.run_id for run in facts.runs if not run.is_over} | {make.run_id for make in makes}
    is_over = next_due is None and spec.enabled
    return ScheduleStatus(
        observed_generation=facts.schedule.generation,
        observed_schedule=observed_schedule(spec),
        handled_until=live.handled_until,
        last_run_at=max([*made_at, *([before.last_run_at] if before.last_run_at else [])], default=None),
        next_run_at=next_due if facts.problem is None else None,
        active=len(active),
        last_outcome=last_outcome,
        last_ended_at=last_ended_at,
        missed=before.missed + sum(each.count for each in missed),
        last_missed=_last_missed(before.last_missed, missed),
        backlog=work.backlog,
        backfill=backfill.progress,
        handled_trigger=trigger.handled,
        conditions=conditions(facts, is_over=is_over, waiting=work.message),
    )


def _last_missed(before: LastMissed | None, missed: Sequence[Missed]) -> LastMissed | None:
    if not missed:
        return before
    newest = max(missed, key=lambda each: each.newest)
    if before is not None and before.tick > newest.newest:
        return before
    return LastMissed(newest.newest, newest.reason, newest.message)
