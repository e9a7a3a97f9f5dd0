"""decide(): which missed ticks are caught up, how many at once, and how the rest is told."""

from datetime import timedelta

import pytest

from pipeline_core.schedules.observed import CatchUp, Cause, ConcurrencyPolicy, MissedReason
from support.schedule_world import (
    ALL,
    ALLOW,
    FORBID,
    LATEST,
    NONE,
    REPLACE,
    T0,
    World,
    hours,
    later,
    minutes,
    new_schedule,
    world,
)

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
