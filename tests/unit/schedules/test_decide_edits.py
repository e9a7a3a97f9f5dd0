"""decide(): what an edit does to the ticks before it and after it, and where a new schedule begins."""

from datetime import timedelta

import pytest

from pipeline_core.schedules.observed import MissedReason
from support.schedule_world import ALL, LATEST, T0, World, hours, later, minutes, new_schedule, world


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


def test_an_expression_that_is_mended_begins_at_the_edit() -> None:
    made = world(cron_expression="0 25 * * *", catch_up=ALL)
    made.now = T0 + hours(4.5)
    made.edit(cron_expression="0 * * * *")
    made.look()
    assert later(made, hours(5)).ticks() == [T0 + hours(5)]
    assert made.missed == {}
