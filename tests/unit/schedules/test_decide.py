"""decide(): what becomes of a schedule's ticks, rule by rule."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.decide import decide
from pipeline_core.schedules.decision import Known, Needs
from pipeline_core.schedules.ids import tick_run_id, trigger_run_id
from pipeline_core.schedules.observed import (
    CatchUp,
    Cause,
    ConcurrencyPolicy,
    MissedReason,
    Schedule,
    ScheduleStatus,
)
from pipeline_core.schedules.stagger import offset
from support.schedule_world import SPEC, T0, UID, World, hours, minutes, new_schedule

ALLOW, FORBID, REPLACE = ConcurrencyPolicy
NONE, LATEST, ALL = CatchUp


def world(**fields: object) -> World:
    """A schedule that was looked at when it was made, at 03:00; hourly unless told otherwise."""
    made = World(new_schedule(**fields))
    made.look()
    return made


def later(made: World, after: timedelta) -> World:
    made.now = T0 + after
    made.look()
    return made


# A tick in time


def test_a_tick_in_time_has_its_run_with_nothing_but_the_organization_looked_up() -> None:
    made = world()
    made.asked.clear()
    made.now = T0 + hours(1)
    decision = made.look()
    (make,) = decision.makes
    assert (make.name, make.run_id) == ("nightly-20261122t0400z", tick_run_id(UID, T0 + hours(1)))
    assert (make.cause, make.logical_time, make.due_at, make.priority) == (Cause.TICK, T0 + hours(1), T0 + hours(1), 0)
    assert made.asked == [Needs(organization=True)]
    status = decision.status
    assert (status.handled_until, status.last_run_at, status.active) == (T0 + hours(1), T0 + hours(1), 1)
    assert (status.next_run_at, decision.look_again_at) == (T0 + hours(2), T0 + hours(2))


def test_nothing_is_made_of_ticks_before_the_schedule_was_made() -> None:
    assert world().made == []
    assert later(world(), minutes(59)).made == []


def test_a_staggered_run_is_due_by_a_fixed_offset_after_its_tick() -> None:
    made = world(stagger_seconds=3_600)
    due = T0 + hours(1) + offset(SPEC.org, "default", "nightly", 3_600)
    assert made.schedule.status.next_run_at == due
    made.now = due - timedelta(seconds=1)
    assert made.look().makes == ()
    made.now = due
    (make,) = made.look().makes
    assert (make.logical_time, make.due_at) == (T0 + hours(1), due)


@pytest.mark.parametrize("fields", [{"catch_up": NONE}, {"starting_deadline": minutes(1)}])
def test_a_tick_that_waits_for_its_offset_isnt_late_when_the_offset_is_lowered(fields: dict[str, object]) -> None:
    made = world(stagger_seconds=3_600, **fields)
    waits = offset(SPEC.org, "default", "nightly", 3_600)
    assert waits > minutes(10)
    made.now = T0 + hours(1) + waits - minutes(2)
    made.look()
    made.edit(stagger_seconds=0)
    made.look()
    assert (made.ticks(), made.missed) == ([T0 + hours(1)], {})
    assert made.schedule.status.next_run_at == T0 + hours(2)


@pytest.mark.parametrize("lowered", [{"stagger_seconds": 0}, {}])
def test_an_edit_makes_no_tick_late_or_new_that_was_late_before(lowered: dict[str, object]) -> None:
    made = world(stagger_seconds=3_600, catch_up=NONE)
    made.now = T0 + hours(1) + offset(SPEC.org, "default", "nightly", 3_600) + minutes(6)
    made.edit(keep_failed=4, **lowered)
    made.look()
    assert made.ticks() in ([], [T0 + hours(2)])
    assert T0 + hours(1) not in made.ticks()


def test_the_priority_of_the_template_is_that_of_a_tick() -> None:
    made = world(run_template={"priority": 7}, catch_up=ALL)
    made.now = T0 + hours(2)
    assert [(make.cause, make.priority) for make in made.look().makes] == [(Cause.TICK, 7)]
    made.end_all()
    assert [(make.cause, make.priority) for make in made.look().makes] == [(Cause.CATCH_UP, -93)]


def test_a_priority_is_never_below_what_the_schema_allows() -> None:
    made = later(world(run_template={"priority": -950}, catch_up=ALL), hours(2.5))
    assert [make.priority for make in made.made] == [-1_000]


@pytest.mark.parametrize(("since", "is_asked"), [(9, False), (11, True)])
def test_the_record_of_a_tick_is_looked_up_where_it_is_late(since: int, is_asked: bool) -> None:
    made = world()
    made.asked.clear()
    made.now = T0 + hours(1) + timedelta(seconds=since)
    made.look()
    assert bool(made.asked[0].outcomes) is is_asked


def test_the_record_of_a_tick_is_looked_up_at_the_first_look() -> None:
    made = world()
    made.is_first_look = True
    made.records[tick_run_id(UID, T0 + hours(1))] = Phase.COMPLETED
    assert later(made, hours(1)).made == []
    assert (made.schedule.status.handled_until, made.schedule.status.missed) == (T0 + hours(1), 0)


# Missed ticks


@pytest.mark.parametrize(
    ("catch_up", "late", "ticks", "missed"),
    [
        (NONE, 4, [5], {MissedReason.NOT_CAUGHT_UP: 4}),
        (NONE, 6, [], {MissedReason.NOT_CAUGHT_UP: 5}),
        (LATEST, 4, [5], {MissedReason.NOT_CAUGHT_UP: 4}),
        (LATEST, 50, [5], {MissedReason.NOT_CAUGHT_UP: 4}),
        (ALL, 4, [5, 1, 2, 3, 4], {}),
        (ALL, 50, [1, 2, 3, 4, 5], {}),
    ],
)
def test_what_an_outage_of_five_ticks_means(
    catch_up: CatchUp, late: int, ticks: list[int], missed: dict[MissedReason, int]
) -> None:
    made = later(world(catch_up=catch_up), hours(5) + minutes(late))
    for _ in range(6):
        made.end_all()
        made.look()
    assert made.ticks() == [T0 + hours(tick) for tick in ticks]
    assert made.missed == missed
    assert made.schedule.status.missed == sum(missed.values())
    assert made.schedule.status.backlog is None


def test_the_deadline_leaves_out_what_is_later() -> None:
    made = later(world(catch_up=ALL, concurrency_policy=ALLOW, starting_deadline=hours(2)), hours(5) + minutes(10))
    assert made.ticks() == [T0 + hours(4), T0 + hours(5)]
    assert made.missed == {MissedReason.DEADLINE: 3}


def test_the_deadline_holds_for_what_waits_to_be_caught_up() -> None:
    made = later(world(catch_up=ALL, starting_deadline=hours(4)), hours(3) + minutes(10))
    assert made.ticks() == [T0 + hours(1)]
    made.edit(cron_expression="0 * * * *", catch_up_limit=7)  # an edit of something else
    made.now = T0 + hours(6.5)
    made.end_all()
    made.look()
    # 04:00 had its run; 05:00 to 09:00 were missed, and of them 05:00 and 06:00 are later than 4 hours.
    assert made.missed == {MissedReason.DEADLINE: 1}
    assert made.ticks() == [T0 + hours(1), T0 + hours(3)]


def test_no_more_than_the_limit_are_caught_up() -> None:
    made = later(world(catch_up=ALL, catch_up_limit=2, concurrency_policy=ALLOW), hours(5.5))
    assert made.ticks() == [T0 + hours(4), T0 + hours(5)]
    assert made.missed == {MissedReason.CATCH_UP_LIMIT: 3}


def test_the_limit_is_the_same_after_a_crash_in_the_middle() -> None:
    made = world(catch_up=ALL, catch_up_limit=3, concurrency_policy=ALLOW)
    made.now = T0 + hours(6.5)
    made.look(crash_after=1)
    made.look()
    assert made.ticks() == [T0 + hours(count) for count in (4, 5, 6)]
    assert made.missed == {MissedReason.CATCH_UP_LIMIT: 3}


def test_what_is_being_caught_up_isnt_missed_when_the_limit_leaves_it_behind() -> None:
    made = later(world(catch_up=ALL, catch_up_limit=2, concurrency_policy=ALLOW), hours(2.5))
    later(made, hours(4.5))
    assert made.ticks() == [T0 + hours(count) for count in (1, 2, 3, 4)]
    assert made.missed == {}


def test_what_is_too_late_behind_a_backlog_is_told_once() -> None:
    made = later(world(catch_up=ALL, concurrency_policy=ALLOW, starting_deadline=hours(3)), hours(3.5))
    later(made, hours(10.5))
    for _ in range(3):
        made.end_all()
        made.look()
    assert made.ticks() == [T0 + hours(count) for count in (1, 2, 3, 8, 9, 10)]
    assert made.missed == {MissedReason.DEADLINE: 4}


@pytest.mark.parametrize("catch_up", [NONE, LATEST])
def test_a_day_of_minutes_is_few_questions(catch_up: CatchUp) -> None:
    made = world(cron_expression="* * * * *", catch_up=catch_up)
    made.asked.clear()
    later(made, hours(24))
    assert sum(len(needs.outcomes) for needs in made.asked) <= 25
    assert made.ticks() == [T0 + hours(24)]
    assert made.missed == {MissedReason.NOT_CAUGHT_UP: 1_000}


def test_of_what_is_caught_up_each_is_asked_about_and_of_the_rest_few() -> None:
    made = world(cron_expression="* * * * *", catch_up=ALL, concurrency_policy=ALLOW)
    made.asked.clear()
    later(made, hours(24))
    assert sum(len(needs.outcomes) for needs in made.asked) <= 125
    assert made.missed == {MissedReason.CATCH_UP_LIMIT: 900}
    made.asked.clear()
    for _ in range(30):
        made.end_all()
        made.runs.clear()
        made.now += timedelta(seconds=61)
        made.look()
    # A live one has its run in time, so none is left out, and all there is to be caught up is.
    assert max(len(needs.outcomes) for needs in made.asked) <= 40
    assert made.missed == {MissedReason.CATCH_UP_LIMIT: 900}


@pytest.mark.parametrize("after", [1, 12, 700, 1_428])
def test_a_run_that_no_status_tells_of_is_made_and_not_missed(after: int) -> None:
    """Of a process that died right after it made it, and whose object is gone, at whatever end of an outage."""
    made = world(cron_expression="* * * * *")
    made.now = T0 + minutes(after)
    made.look(crash_after=1)
    made.end_all()
    made.runs.clear()
    later(made, minutes(after + 11))
    assert (len(made.made), made.missed) == (2, {MissedReason.NOT_CAUGHT_UP: min(after + 11, 1_001) - 2})


def test_a_year_of_minutes_is_bounded_work() -> None:
    made = World(new_schedule(cron_expression="* * * * *"))
    made.look()
    made.now = T0 + timedelta(days=365)
    assert [make.logical_time for make in made.look().makes] == [made.now]
    assert made.missed == {MissedReason.NOT_CAUGHT_UP: 1_000}


@pytest.mark.parametrize(
    ("inactive", "problem", "reason"),
    [
        ("The subscription is suspended", None, MissedReason.ORGANIZATION_INACTIVE),
        ("", ("PipelineNotFound", "gcp/cost/billing isn't there"), MissedReason.INVALID),
        ("The subscription is suspended", ("PipelineNotFound", "gcp/cost/billing isn't there"), MissedReason.INVALID),
    ],
)
def test_where_no_run_may_be_made_ticks_are_missed_and_nothing_waits(
    inactive: str, problem: tuple[str, str] | None, reason: MissedReason
) -> None:
    made = world(catch_up=ALL)
    made.inactive, made.problem = inactive, problem
    later(made, hours(3))
    assert made.missed == {reason: 3}
    made.inactive, made.problem = "", None
    later(made, hours(3.5))
    assert made.made == []
    assert made.schedule.status.backlog is None
    assert later(made, hours(4)).ticks() == [T0 + hours(4)]


def test_a_tick_missed_for_its_organization_takes_the_backlog_with_it() -> None:
    made = later(world(catch_up=ALL), hours(3.5))
    assert made.ticks() == [T0 + hours(1)]
    made.inactive = "The subscription is suspended"
    later(made, hours(4))
    assert made.missed == {MissedReason.ORGANIZATION_INACTIVE: 3}
    assert made.schedule.status.backlog is None


# Concurrency


def test_forbid_counts_each_tick_that_a_run_hangs_over_once() -> None:
    made = world()
    made.run_until(T0 + hours(6))
    assert made.ticks() == [T0 + hours(1)]
    assert made.missed == {MissedReason.STILL_RUNNING: 5}
    assert made.schedule.status.last_missed is not None
    assert made.schedule.status.last_missed.tick == T0 + hours(6)
    made.end_all()
    assert later(made, hours(7)).ticks() == [T0 + hours(1), T0 + hours(7)]


@pytest.mark.parametrize("cause", [Cause.TRIGGER, Cause.BACKFILL])
def test_forbid_looks_at_the_runs_of_ticks_alone(cause: Cause) -> None:
    made = world()
    made.annotate("now")
    made.look()
    made.runs = {name: replace(run, cause=cause) for name, run in made.runs.items()}
    assert later(made, hours(1)).ticks() == [T0 + hours(1)]


def test_allow_makes_each() -> None:
    made = world(concurrency_policy=ALLOW)
    made.run_until(T0 + hours(4))
    assert made.ticks() == [T0 + hours(count) for count in range(1, 5)]
    assert made.schedule.status.active == 4


def test_replace_cancels_all_that_go_on_once() -> None:
    made = world(concurrency_policy=ALLOW)
    made.run_until(T0 + hours(3))
    made.edit(concurrency_policy=REPLACE)
    made.now = T0 + hours(4)
    decision = made.look()
    assert [make.logical_time for make in decision.makes] == [T0 + hours(4)]
    assert {cancel.name for cancel in decision.cancels} == {f"nightly-20261122t0{hour}00z" for hour in (4, 5, 6)}
    made.now = T0 + hours(5)
    assert [cancel.name for cancel in made.look().cancels] == ["nightly-20261122t0700z"]


def test_replace_cancels_after_a_crash_between_the_make_and_the_cancels() -> None:
    made = later(world(concurrency_policy=REPLACE), hours(1))
    made.now = T0 + hours(2)
    made.look(crash_after=1)
    assert not any(run.is_cancelled for run in made.runs.values())
    made.now += minutes(3)
    decision = made.look()
    assert (decision.makes, [cancel.name for cancel in decision.cancels]) == ((), ["nightly-20261122t0400z"])


def test_replace_leaves_what_is_caught_up_alone() -> None:
    made = later(world(concurrency_policy=REPLACE, catch_up=ALL), hours(2.5))
    made.now = T0 + hours(3)
    decision = made.look()
    assert ([make.cause for make in decision.makes], decision.cancels) == ([Cause.TICK], ())


# Catching up


def test_a_tick_in_time_joins_the_backlog_while_a_missed_one_is_made_up() -> None:
    made = later(world(catch_up=ALL), hours(2.5))
    assert made.ticks() == [T0 + hours(1)]
    later(made, hours(3))
    assert (made.made[1:], made.schedule.status.missed) == ([], 0)
    assert made.schedule.status.backlog is not None
    assert made.schedule.status.backlog.until == T0 + hours(3)
    for _ in range(3):
        made.end_all()
        made.look()
    assert made.ticks(Cause.CATCH_UP) == [T0 + hours(count) for count in (1, 2, 3)]
    assert made.schedule.status.backlog is None


def test_under_forbid_nothing_is_caught_up_beside_the_run_of_a_tick() -> None:
    made = later(world(catch_up=ALL), hours(3))
    assert made.ticks() == [T0 + hours(3)]
    later(made, hours(3.5))
    assert len(made.made) == 1
    made.end_all()
    assert later(made, hours(3.6)).ticks() == [T0 + hours(3), T0 + hours(1)]


def test_a_long_run_of_a_tick_loses_none_while_there_is_a_backlog() -> None:
    made = later(world(catch_up=ALL), hours(3))
    later(made, hours(4))
    assert made.missed == {}
    for _ in range(5):
        made.end_all()
        made.look()
    # 06:00 was made first, in time; 07:00 joined the others.
    assert made.ticks() == [T0 + hours(count) for count in (3, 1, 2, 4)]


@pytest.mark.parametrize(("policy", "at_once"), [(ALLOW, 5), (REPLACE, 1), (FORBID, 1)])
def test_how_many_are_caught_up_at_once(policy: ConcurrencyPolicy, at_once: int) -> None:
    made = later(world(catch_up=ALL, concurrency_policy=policy), hours(8.5))
    assert made.ticks(Cause.CATCH_UP) == [T0 + hours(count) for count in range(1, at_once + 1)]


def test_all_turned_to_none_in_the_middle_drops_the_rest_and_tells() -> None:
    made = later(world(catch_up=ALL), hours(5.5))
    made.edit(catch_up=NONE)
    made.look()
    assert made.missed == {MissedReason.NOT_CAUGHT_UP: 4}
    assert made.schedule.status.backlog is None
    made.end_all()
    assert later(made, hours(5.8)).ticks() == [T0 + hours(1)]


def test_the_backlog_goes_on_where_objects_were_deleted() -> None:
    made = later(world(catch_up=ALL), hours(3.5))
    made.end_all()
    made.runs.clear()  # by its TTL, before anybody has looked
    made.look()
    assert made.ticks() == [T0 + hours(1), T0 + hours(2)]


def test_a_record_that_goes_on_without_an_object_holds_its_place() -> None:
    made = later(world(catch_up=ALL), hours(3.5))
    made.runs.clear()
    decision = made.look()
    assert (decision.makes, decision.look_again_at) == ((), made.now + minutes(5))


def test_no_room_keeps_the_backlog_waiting_and_says_so() -> None:
    made = world(catch_up=ALL)
    made.slots = 0
    made.now = T0 + hours(2.25)
    decision = made.look()
    assert decision.makes == ()
    assert decision.look_again_at == T0 + hours(3)
    ready = decision.status.conditions[0]
    assert (ready.is_true, ready.message) == (True, "Catching up waits: Daily pipeline limit (20) reached")
    made.slots = 1
    made.now = T0 + hours(2.5)
    assert [make.cause for make in made.look().makes] == [Cause.CATCH_UP]


# Edits


def test_an_edit_never_fires_for_the_past() -> None:
    made = later(world(cron_expression="0 12 * * *"), hours(4))
    made.edit(cron_expression="0 */2 * * *")
    made.look()
    assert (made.made, made.missed) == ([], {})
    assert made.schedule.status.next_run_at == T0 + hours(5)


def test_ticks_that_were_due_before_an_edit_and_not_made_are_told() -> None:
    made = later(world(catch_up=ALL), hours(0.5))
    made.now = T0 + hours(3.5)
    made.edit(cron_expression="30 * * * *")
    made.now = T0 + hours(5.5)
    made.look()
    assert made.missed == {MissedReason.EDITED: 3}
    for _ in range(3):
        made.end_all()
        made.look()
    # 06:30 is the very second of the edit.
    assert made.ticks() == [T0 + hours(5.5), T0 + hours(4.5)]


def test_a_tick_at_the_second_of_an_edit_is_before_it() -> None:
    made = later(world(cron_expression="0 12 * * *"), hours(0.5))
    made.now = T0 + hours(1) + timedelta(milliseconds=400)
    made.edit(cron_expression="0 * * * *")
    made.look()
    assert made.made == []
    assert later(made, hours(2)).ticks() == [T0 + hours(2)]


def test_a_tick_after_an_edit_is_made_though_both_are_seen_at_once() -> None:
    made = later(world(cron_expression="0 12 * * *"), hours(0.5))
    made.now = T0 + hours(1) - timedelta(seconds=2)
    made.edit(cron_expression="0 * * * *")
    made.now = T0 + hours(1) + timedelta(seconds=1)
    made.look()
    assert made.ticks() == [T0 + hours(1)]


def test_a_staggered_tick_that_an_edit_overtakes_is_told() -> None:
    made = world(stagger_seconds=3_600)
    made.now = T0 + hours(1)
    made.edit(time_zone="Asia/Kathmandu")
    made.look()
    assert (made.made, made.missed) == ([], {MissedReason.EDITED: 1})


def test_a_tick_made_under_the_old_expression_isnt_made_under_the_new_one() -> None:
    made = later(world(), hours(1))
    made.edit(cron_expression="0 */2 * * *")  # 04:00 is a tick of both
    made.look()
    assert made.ticks() == [T0 + hours(1)]
    made.end_all()
    assert later(made, hours(3)).ticks() == [T0 + hours(1), T0 + hours(3)]


def test_a_run_whose_status_was_lost_before_the_edit_isnt_told_as_missed() -> None:
    made = world()
    made.now = T0 + hours(1)
    made.look(crash_after=1)
    made.end_all()
    made.runs.clear()
    made.now += minutes(5)
    made.edit(cron_expression="30 * * * *")
    made.look()
    assert (len(made.made), made.missed) == (1, {})


def test_an_edit_drops_the_backlog_and_tells() -> None:
    made = later(world(catch_up=ALL), hours(4.5))
    made.edit(cron_expression="30 * * * *")
    made.look()
    assert made.missed == {MissedReason.EDITED: 3}
    assert made.schedule.status.backlog is None


def test_disabled_makes_nothing_and_enabled_again_begins_from_then() -> None:
    made = later(world(catch_up=ALL), hours(1))
    made.end_all()
    made.now = T0 + hours(1.5)
    made.edit(enabled=False)
    decision = made.look()
    assert (decision.status.next_run_at, decision.look_again_at) == (None, None)
    assert [condition.reason for condition in decision.status.conditions] == ["Scheduled", "Disabled", "Scheduled"]
    later(made, hours(4))
    made.edit(enabled=True)
    made.look()
    assert later(made, hours(5)).ticks() == [T0 + hours(1), T0 + hours(5)]
    assert made.missed == {}


def test_disabled_and_enabled_again_while_nobody_looked_begins_from_then() -> None:
    made = later(world(catch_up=ALL), hours(0.5))
    made.edit(enabled=False)
    made.now = T0 + hours(3.5)
    made.edit(enabled=True)
    made.now = T0 + hours(5)
    made.look()
    made.end_all()
    made.look()
    assert made.ticks() == [T0 + hours(5), T0 + hours(4)]
    assert made.missed == {MissedReason.EDITED: 3}


def test_an_edit_of_something_else_loses_no_tick() -> None:
    made = later(world(catch_up=LATEST), hours(0.5))
    made.now = T0 + hours(1.5)
    made.edit(parameters={"date": "{{date}}"})
    assert later(made, hours(1.75)).ticks() == [T0 + hours(1)]


def test_two_edits_in_a_row_leave_the_backlog_where_no_tick_fell_before_them() -> None:
    made = later(world(catch_up=ALL), hours(3.5))
    made.edit(keep_failed=4)
    made.edit(keep_failed=5)
    made.look()
    assert made.schedule.status.backlog is not None
    assert made.missed == {}


def test_two_edits_while_nobody_looked_take_the_ticks_before_them_and_say_why() -> None:
    made = later(world(), hours(0.5))
    made.edit(keep_failed=4)
    made.now = T0 + hours(1.5)
    made.edit(keep_failed=5)
    (missed,) = made.look().missed
    assert (missed.reason, missed.count) == (MissedReason.EDITED, 1)
    assert missed.message.startswith(
        "The schedule was edited more than once while no operator looked; it may have been"
    )


def test_many_ticks_before_an_edit_are_few_questions() -> None:
    made = world(cron_expression="* * * * *")
    made.now = T0 + hours(24)
    made.edit(cron_expression="0 * * * *")
    made.look()
    assert made.missed == {MissedReason.EDITED: 1_001}
    assert max(len(needs.outcomes) for needs in made.asked) <= 25


@pytest.mark.parametrize(
    ("created", "seen", "ticks"),
    [
        (timedelta(days=-60), minutes(10), [0]),
        (timedelta(days=-60), hours(23.9), [0]),
        (timedelta(days=-60), hours(24.1), [24]),
        (hours(-3), minutes(50), [0]),
        (minutes(10), hours(23), []),
    ],
)
def test_what_nobody_has_seen_begins_a_day_before_it_is_seen_at_the_most(
    created: timedelta, seen: timedelta, ticks: list[int]
) -> None:
    made = World(new_schedule(T0 + created, catch_up=ALL, cron_expression="0 3 * * *"), now=T0 + seen)
    for _ in range(3):
        made.look()
        made.end_all()
    assert made.ticks() == [T0 + hours(tick) for tick in ticks]
    assert made.missed == {}


def test_what_was_edited_before_anybody_looked_begins_at_the_edit() -> None:
    made = World(new_schedule(catch_up=ALL))
    made.now = T0 + hours(2.5)
    made.edit(cron_expression="0 * * * *")
    later(made, hours(3))
    assert made.ticks() == [T0 + hours(3)]
    assert made.missed == {}


# Clocks


def test_a_clock_set_back_an_hour_makes_nothing_twice_and_misses_nothing() -> None:
    made = world(concurrency_policy=ALLOW, cron_expression="*/10 * * * *")
    made.run_until(T0 + hours(2))
    made.end_all()
    made.runs.clear()
    made.now = T0 + hours(1)
    made.run_until(T0 + hours(3))
    assert made.ticks() == [T0 + minutes(10 * count) for count in range(1, 19)]
    assert made.missed == {}


def test_what_had_its_run_before_the_clock_was_set_back_isnt_missed_in_an_outage_after() -> None:
    made = world(concurrency_policy=ALLOW, cron_expression="* * * * *")
    made.run_until(T0 + hours(4))
    made.end_all()
    made.runs.clear()
    made.now = T0 + hours(1)
    made.look()
    later(made, hours(5))
    assert made.ticks() == [*[T0 + minutes(count) for count in range(1, 241)], T0 + hours(5)]
    assert made.missed == {MissedReason.NOT_CAUGHT_UP: 59}


def test_a_clock_a_day_ahead_and_back_makes_each_tick_once() -> None:
    made = world(concurrency_policy=ALLOW)
    made.run_until(T0 + hours(2))
    made.now = T0 + hours(26)
    made.look()
    made.now = T0 + hours(2) + minutes(5)
    made.run_until(T0 + hours(30))
    assert sorted(made.ticks()) == [T0 + hours(count) for count in range(1, 31)]


def test_a_run_whose_process_died_before_it_told_by_a_clock_a_day_ahead_isnt_made_again_when_its_tick_comes() -> None:
    made = world(concurrency_policy=ALLOW)
    made.now = T0 + hours(25)
    made.look(crash_after=1)
    (name,) = made.runs
    made.runs[name] = replace(made.runs[name], created_at=T0 + hours(1))  # the API server's clock was right
    made.look()
    made.end(name)
    made.runs.clear()
    made.now = T0 + hours(1) + minutes(5)
    made.run_until(T0 + hours(26))
    assert sorted(made.ticks()) == [T0 + hours(count) for count in range(2, 27)]


def test_a_backlog_of_a_clock_that_was_ahead_makes_no_run_of_the_future() -> None:
    made = world(catch_up=ALL)
    made.now = T0 + hours(24.5)
    made.look()
    made.end_all()
    made.now = T0 + hours(2.5)
    for _ in range(4):
        made.look()
        made.end_all()
    assert made.ticks() == [T0 + hours(1), T0 + hours(2)]
    made.run_until(T0 + hours(4))
    assert made.ticks()[2:] == [T0 + hours(3)]


def test_a_fence_a_little_ahead_of_the_clock_stays() -> None:
    made = later(world(), hours(1))
    before = made.schedule.status
    made.now -= timedelta(seconds=40)
    decision = made.look()
    assert (decision.status, decision.look_again_at) == (before, T0 + hours(2))


# Triggers


def test_each_new_value_of_the_annotation_asks_for_one_run() -> None:
    made = world()
    made.now += minutes(10)
    made.annotate("a")
    (make,) = made.look().makes
    assert make.run_id == trigger_run_id(UID, "a")
    assert make.name == f"nightly-now-{make.run_id[4:14]}"
    assert (make.cause, make.logical_time) == (Cause.TRIGGER, made.now)
    assert made.look().makes == ()
    assert (made.schedule.status.handled_trigger, made.schedule.status.last_run_at) == ("a", made.now)
    made.annotate("b")
    assert len(made.look().makes) == 1


def test_a_trigger_is_no_run_of_a_tick() -> None:
    made = world()
    made.annotate("a")
    made.look()
    assert later(made, hours(1)).ticks() == [T0 + hours(1)]


def test_a_trigger_fires_while_the_schedule_is_disabled() -> None:
    made = world(enabled=False)
    made.annotate("a")
    assert len(made.look().makes) == 1


def test_a_schedule_that_nobody_has_looked_at_fires_no_old_trigger() -> None:
    made = World(replace(new_schedule(), trigger="a"))
    assert made.look().makes == ()
    assert made.look().makes == ()


def test_a_trigger_without_leave_is_told_and_never_fires_later() -> None:
    made = world()
    made.inactive = "The subscription is suspended"
    made.annotate("a")
    (missed,) = made.look().missed
    assert (missed.reason, missed.count, missed.newest) == (MissedReason.ORGANIZATION_INACTIVE, 0, T0)
    assert missed.message == "No run was triggered: The subscription is suspended"
    made.inactive = ""
    assert made.look().makes == ()


def test_a_trigger_whose_run_is_gone_isnt_pulled_again() -> None:
    made = world()
    made.annotate("a")
    made.look(crash_after=1)
    made.end_all()
    made.runs.clear()
    made.now += minutes(1)
    assert made.look().makes == ()
    assert made.schedule.status.handled_trigger == "a"


def test_a_value_that_was_used_before_makes_no_run() -> None:
    made = world()
    for token in ("a", "b"):
        made.annotate(token)
        made.look()
        made.end_all()
        made.runs.clear()
        made.now += minutes(10)
    made.annotate("a")
    assert made.look().makes == ()
    assert made.schedule.status.handled_trigger == "a"


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


def test_without_postgresql_a_trigger_waits_and_isnt_lost() -> None:
    made = world()
    made.annotate("a")
    made.is_store_away = True
    made.asked.clear()
    decision = made.look()
    assert (decision.makes, decision.missed, made.asked) == ((), (), [])
    assert (decision.status.handled_trigger, decision.look_again_at) == (None, T0 + timedelta(seconds=10))
    made.is_store_away = False
    assert len(made.look().makes) == 1


def test_a_removed_annotation_asks_for_nothing_and_keeps_what_was_handled() -> None:
    made = world()
    made.annotate("a")
    made.look()
    made.annotate("")
    assert made.look().makes == ()
    assert made.schedule.status.handled_trigger == "a"


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


def test_an_expression_that_is_mended_begins_at_the_edit() -> None:
    made = world(cron_expression="0 25 * * *", catch_up=ALL)
    made.now = T0 + hours(4.5)
    made.edit(cron_expression="0 * * * *")
    made.look()
    assert later(made, hours(5)).ticks() == [T0 + hours(5)]
    assert made.missed == {}


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


def test_daylight_saving_makes_one_run_of_a_time_that_comes_twice() -> None:
    """Clocks in Madrid go back from 03:00 to 02:00 on 25 October 2026."""
    start = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
    made = World(new_schedule(start, cron_expression="30 2 * * *", time_zone="Europe/Madrid"), now=start)
    made.run_until(start + hours(36))
    assert made.ticks() == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]
