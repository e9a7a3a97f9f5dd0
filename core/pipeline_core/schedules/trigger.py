"""Sees to the annotation `pipelines.dev/trigger`: each new value of it asks for one run, now."""

from dataclasses import dataclass
from datetime import datetime

from pipeline_core.schedules.allowance import RETRY
from pipeline_core.schedules.decision import Make, Missed, Needs
from pipeline_core.schedules.facts import NO_NEEDS, Facts
from pipeline_core.schedules.ids import TRIGGER_MAX, trigger_run_id, trigger_run_name
from pipeline_core.schedules.observed import Cause


@dataclass(frozen=True, slots=True)
class Trigger:
    """The value that is seen to then. With needs, nothing is decided."""

    handled: str | None
    makes: tuple[Make, ...] = ()
    missed: tuple[Missed, ...] = ()
    look_again_at: datetime | None = None
    needs: Needs = NO_NEEDS


def pull(facts: Facts) -> Trigger:
    """One run for a value that wasn't seen to; none where nobody has looked at the schedule before.

    That is a schedule restored from a backup, whose annotation asked for a run long ago. Where no run may be made, the
    value is seen to as well, and told: a run at some later time would surprise.
    """
    schedule, status = facts.schedule, facts.schedule.status
    token = (schedule.trigger or "")[:TRIGGER_MAX]
    if not token or token == status.handled_trigger:
        return Trigger(status.handled_trigger)
    if status.handled_until is None:
        return Trigger(token)
    run_id = trigger_run_id(schedule.uid, token)
    if facts.known.is_store_away:
        return Trigger(status.handled_trigger, look_again_at=facts.second + RETRY)
    # It may have had its run, and the object be gone: of a process that died before it told, or long ago, before
    # another value.
    needs = Needs(
        organization=facts.problem is None and facts.known.inactive is None,
        outcomes=facts.unsure([run_id]),
    )
    if needs:
        return Trigger(status.handled_trigger, needs=needs)
    if facts.phase(run_id) is not None:
        return Trigger(token)
    if facts.refusal is not None:
        reason, message = facts.refusal
        # It is no tick: it isn't counted.
        return Trigger(token, missed=(Missed(reason, 0, facts.second, f"No run was triggered: {message}"),))
    name, at = trigger_run_name(schedule.name, run_id), facts.second
    return Trigger(token, (Make(run_id, name, Cause.TRIGGER, at, at, facts.priority()),))
