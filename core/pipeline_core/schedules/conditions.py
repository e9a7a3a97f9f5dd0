"""What the conditions of a schedule say: Ready, Suspended and Stalled, as tools that read kstatus understand them."""

from collections.abc import Sequence

from pipeline_core.schedules.decision import Needs
from pipeline_core.schedules.facts import Facts
from pipeline_core.schedules.observed import ConditionValue

READY, SUSPENDED, STALLED = "Ready", "Suspended", "Stalled"
SCHEDULED, DISABLED, INACTIVE, ACTIVE = "Scheduled", "Disabled", "OrganizationInactive", "Active"


def conditions(facts: Facts, *, is_over: bool, waiting: str) -> tuple[ConditionValue, ...]:
    """The three conditions. `is_over`: the expression names no further time; `waiting` is why catching up rests."""
    ready = _ready(facts, is_over=is_over, waiting=waiting)
    stalled = ConditionValue(STALLED, not ready.is_true, ready.reason, "" if ready.is_true else ready.message)
    return ready, _suspended(facts), stalled


def recheck(facts: Facts) -> Needs:
    """Whether the organization has to be looked up though no run is due: it may run something again."""
    is_open = facts.spec.enabled and facts.known.inactive is None and not facts.known.is_store_away
    return Needs(organization=is_open and is_inactive(facts.schedule.status.conditions))


def is_inactive(conditions: Sequence[ConditionValue]) -> bool:
    """Whether they say that the organization may run nothing."""
    return any(each.type == SUSPENDED and each.reason == INACTIVE for each in conditions)


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
    if facts.known.inactive:
        return ConditionValue(SUSPENDED, True, INACTIVE, facts.known.inactive)
    before = facts.schedule.status.conditions
    if is_inactive(before) and (facts.known.inactive is None or facts.known.is_store_away):
        return next(each for each in before if each.type == SUSPENDED)  # what was seen holds until it is seen again
    return ConditionValue(SUSPENDED, False, ACTIVE, "")
