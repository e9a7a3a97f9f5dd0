"""decide(): each new value of the annotation asks for one run, once, and is never lost."""

from dataclasses import replace
from datetime import timedelta

from pipeline_core.schedules.ids import trigger_run_id
from pipeline_core.schedules.observed import Cause, MissedReason
from support.schedule_world import T0, UID, World, hours, later, minutes, new_schedule, world


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


def test_a_removed_annotation_asks_for_nothing_and_keeps_what_was_handled() -> None:
    made = world()
    made.annotate("a")
    made.look()
    made.annotate("")
    assert made.look().makes == ()
    assert made.schedule.status.handled_trigger == "a"


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
