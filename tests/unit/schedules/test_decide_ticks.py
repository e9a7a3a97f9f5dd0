"""decide(): what becomes of a tick in time, beside the runs that go on, and when the clock jumps."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.decision import Needs
from pipeline_core.schedules.ids import tick_run_id
from pipeline_core.schedules.observed import Cause, MissedReason
from pipeline_core.schedules.stagger import offset
from support.schedule_world import (
    ALL,
    ALLOW,
    NONE,
    REPLACE,
    SPEC,
    T0,
    UID,
    World,
    hours,
    later,
    minutes,
    new_schedule,
    world,
)

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


def test_daylight_saving_makes_one_run_of_a_time_that_comes_twice() -> None:
    """Clocks in Madrid go back from 03:00 to 02:00 on 25 October 2026."""
    start = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)
    made = World(new_schedule(start, cron_expression="30 2 * * *", time_zone="Europe/Madrid"), now=start)
    made.run_until(start + hours(36))
    assert made.ticks() == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC)]
