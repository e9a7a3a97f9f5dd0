"""What the conditions of a schedule say: Ready, Suspended and Stalled, as tools that read kstatus understand them."""

from collections.abc import Sequence

from pipeline_core.schedules.facts import Facts
from pipeline_core.schedules.observed import ConditionValue

READY, SUSPENDED, STALLED = "Ready", "Suspended", "Stalled"
SCHEDULED, DISABLED, INACTIVE, ACTIVE = "Scheduled", "Disabled", "OrganizationInactive", "Active"


def conditions(facts: Facts, *, is_over: bool, waiting: str) -> tuple[ConditionValue, ...]:
    """The three conditions. `is_over`: the expression names no further time; `waiting` is why catching up rests."""
    ready = _ready(facts, is_over=is_over, waiting=waiting)
    stalled = ConditionValue(STALLED, not ready.is_true, ready.reason, "" if ready.is_true else ready.message)
    return ready, _suspended(facts), stalled


def _ready(facts: Facts, *, is_over: bool, waiting: str) -> ConditionValue:
    if facts.problem is not None:
        return ConditionValue(READY, False, *facts.problem)
    if waiting:
        return ConditionValue(READY, True, SCHEDULED, f"Catching up waits: {waiting}")
    if is_over:
        return ConditionValue(READY, True, SCHEDULED, "spec.cronExpression names no time to come")
    return ConditionValue(READY, True, SCHEDULED, "Its runs are made by cronExpression" if facts.spec.enabled else "")


def _suspended(facts: Facts) -> ConditionValue:
    if not facts.spec.enabled:
        return ConditionValue(SUSPENDED, True, DISABLED, "spec.enabled is false: no runs are made by cronExpression")
    if facts.known.inactive is None:
        # The organization is looked up when a run is due: what was seen then holds until it is looked up again.
        before = _of_type(SUSPENDED, facts.schedule.status.conditions)
        if before is not None and before.reason == INACTIVE:
            return before
    if facts.known.inactive:
        return ConditionValue(SUSPENDED, True, INACTIVE, facts.known.inactive)
    return ConditionValue(SUSPENDED, False, ACTIVE, "")


def _of_type(kind: str, before: Sequence[ConditionValue]) -> ConditionValue | None:
    return next((condition for condition in before if condition.type == kind), None)
