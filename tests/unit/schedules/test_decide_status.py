"""decide(): what the status tells, of what can't work and of PostgreSQL being away too."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.decide import decide
from pipeline_core.schedules.decision import Known, Needs
from pipeline_core.schedules.ids import tick_run_id
from pipeline_core.schedules.observed import Cause, Schedule, ScheduleStatus
from support.schedule_world import ALL, ALLOW, T0, UID, World, hours, later, minutes, new_schedule, world

# The status


def test_a_pass_in_which_nothing_happened_changes_nothing() -> None:
    made = later(world(), hours(1))
    before = made.schedule.status
    for seconds in (1, 100, 1_000, 3_500):
        made.now = T0 + hours(1) + timedelta(seconds=seconds)
        assert made.look().status == before


def test_the_object_of_a_run_brings_nothing_new() -> None:
    made = world()
    made.now = T0 + hours(1)
    decision = made.look()
    assert made.look().status == decision.status


def test_the_last_outcome_stays_when_its_object_is_gone() -> None:
    made = later(world(keep_failed=0), hours(1))
    made.now += minutes(3)
    made.end_all(Phase.FAILED)
    decision = made.look()
    assert [prune.name for prune in decision.prunes] == ["nightly-20261122t0400z"]
    made.look()
    assert made.runs == {}
    status = made.schedule.status
    assert (status.last_outcome, status.last_ended_at, status.active) == (Phase.FAILED, T0 + minutes(63), 0)


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({"cron_expression": "0 25 * * *"}, "InvalidCron", "spec.cronExpression: '0 25 * * *', expected"),
        ({"cron_expression": "* * * * * *"}, "InvalidCron", "seconds and years aren't supported"),
        ({"time_zone": "Europe/Madird"}, "InvalidTimeZone", "spec.timeZone: 'Europe/Madird', expected"),
        ({"cron_expression": "0 0 30 2 *"}, "InvalidCron", "never"),
    ],
)
def test_what_cant_work_is_told_in_ready_and_stalled(fields: dict[str, object], reason: str, words: str) -> None:
    decision = World(new_schedule(**fields)).look()
    ready, _, stalled = decision.status.conditions
    assert (ready.is_true, ready.reason, stalled.is_true, stalled.reason) == (False, reason, True, reason)
    assert words in ready.message
    assert (decision.status.next_run_at, decision.look_again_at) == (None, None)


def test_a_problem_of_the_catalog_is_told_with_its_reason() -> None:
    made = world()
    made.problem = ("PipelineNotFound", "gcp/cost/billing isn't there")
    decision = made.look()
    assert decision.status.conditions[0].reason == "PipelineNotFound"
    assert (decision.status.next_run_at, decision.look_again_at) == (None, T0 + hours(1))


def test_an_inactive_organization_is_suspended_until_it_is_seen_to_be_active() -> None:
    made = world()
    made.inactive = "The subscription is suspended"
    later(made, hours(1))
    assert made.schedule.status.conditions[1].reason == "OrganizationInactive"
    before = made.schedule.status
    for _ in range(3):
        made.now += minutes(5)
        decision = made.look()
        assert (decision.status, decision.look_again_at) == (before, made.now + minutes(5))
    made.inactive = ""
    made.now += minutes(5)
    decision = made.look()
    assert decision.status.conditions[1].reason == "Active"
    assert (made.made, decision.look_again_at) == ([], T0 + hours(2))


def test_what_was_said_of_an_organization_holds_while_nobody_can_say() -> None:
    made = world()
    made.inactive = "The subscription is suspended"
    later(made, hours(1))
    made.inactive, made.is_store_away = "", True
    made.asked.clear()
    decision = made.look()
    assert (made.asked, decision.status.conditions[1].reason) == ([], "OrganizationInactive")
    later(made, hours(2))
    assert (made.ticks(), made.schedule.status.conditions[1].reason) == ([T0 + hours(2)], "OrganizationInactive")


def test_nothing_is_done_about_a_schedule_that_is_being_deleted() -> None:
    status = ScheduleStatus(handled_until=T0)
    schedule: Schedule = replace(new_schedule(), deleting=True, status=status, trigger="a")
    decision = decide(schedule, (), T0 + hours(3), Known(inactive=""))
    assert (decision.status, decision.makes, decision.look_again_at) == (status, (), None)


# PostgreSQL is away


def test_without_postgresql_a_tick_has_its_run_and_what_is_caught_up_waits() -> None:
    made = later(world(catch_up=ALL, concurrency_policy=ALLOW), hours(8.5))
    made.end_all()
    before = made.schedule.status.backlog
    made.is_store_away = True
    made.asked.clear()
    made.now = T0 + hours(9)
    decision = made.look()
    assert [make.cause for make in decision.makes] == [Cause.TICK]
    assert made.asked == [Needs(organization=True)]
    assert (decision.status.backlog, decision.look_again_at) == (before, made.now + timedelta(seconds=10))
    assert decision.status.conditions[0].message == "Catching up waits: PostgreSQL is away"
    made.is_store_away = False
    made.now += timedelta(seconds=10)
    assert [make.cause for make in made.look().makes] == [Cause.CATCH_UP] * 3


def test_without_postgresql_a_late_tick_is_asked_about_all_the_same() -> None:
    made = world()
    decision = decide(made.schedule, (), T0 + hours(1.1), Known(inactive="", is_store_away=True))
    assert decision.needs == Needs(outcomes=(tick_run_id(UID, T0 + hours(1)),))
