"""decide(): how a backfill goes on, waits, rests, stops and ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.ids import backfill_run_id
from pipeline_core.schedules.observed import BackfillProgress, BackfillSpec, CatchUp, Cause, ScheduleStatus
from pipeline_core.schedules.timetable import Timetable
from support.schedule_world import T0, UID, World, hours, minutes, new_schedule

# T0 is 22 November 2026, 03:00; daily at 06:00.
WEEK = BackfillSpec("october", "2026-10-01", "2026-10-07")


def world(backfill: BackfillSpec | None = WEEK, **fields: object) -> World:
    made = World(new_schedule(backfill=backfill, **{"cron_expression": "0 6 * * *", **fields}))
    made.look()
    return made


def progress(made: World) -> BackfillProgress:
    assert made.schedule.status.backfill is not None
    return made.schedule.status.backfill


def progress_or_none(made: World) -> BackfillProgress | None:
    return made.schedule.status.backfill


def days(made: World) -> list[int]:
    return [tick.day for tick in made.ticks(Cause.BACKFILL)]


def go_on(made: World, passes: int, phase: Phase = Phase.COMPLETED) -> None:
    for _ in range(passes):
        made.now += minutes(1)
        made.end_all(phase)
        made.look()


def edit(made: World, **fields: object) -> None:
    assert made.schedule.spec.backfill is not None
    made.edit(backfill=replace(made.schedule.spec.backfill, **fields))  # type: ignore[arg-type]


def test_the_first_run_is_made_at_once_and_told() -> None:
    made = world(run_template={"priority": 10})
    (make,) = made.made
    assert make.run_id == backfill_run_id(UID, "october", make.logical_time)
    assert make.name == f"nightly-october-20261001t0600z-{make.run_id[4:8]}"
    assert (make.cause, make.backfill_id, make.priority) == (Cause.BACKFILL, "october", -190)
    assert progress(made) == BackfillProgress(
        "october", "Running", 7, active=1, started_at=T0, covers="2026-10-01/2026-10-07 0 6 * * * Etc/UTC"
    )


def test_it_goes_through_the_range_in_order_once_and_ends() -> None:
    made = world()
    go_on(made, 3)
    go_on(made, 1, Phase.FAILED)
    go_on(made, 5)
    assert days(made) == [1, 2, 3, 4, 5, 6, 7]
    ended = progress(made)
    assert (ended.state, ended.succeeded, ended.failed, ended.active) == ("Completed", 6, 1, 0)
    assert (ended.completed_at, ended.message) == (T0 + minutes(7), "")


def test_no_more_than_its_concurrency_go_on_at_once() -> None:
    made = world(replace(WEEK, concurrency=3))
    assert days(made) == [1, 2, 3]
    made.end(made.made[1].name)
    made.look()
    assert (days(made), progress(made).done_until) == ([1, 2, 3, 4], None)
    made.end(made.made[0].name)
    made.look()
    assert progress(made).succeeded == 2


def test_with_a_lower_concurrency_runs_go_on_and_none_is_made_until_there_is_room() -> None:
    made = world(replace(WEEK, concurrency=3))
    edit(made, concurrency=1)
    made.end(made.made[0].name)
    made.end(made.made[1].name)
    made.look()
    assert days(made) == [1, 2, 3]
    go_on(made, 1)
    assert days(made) == [1, 2, 3, 4]


def test_one_that_hangs_keeps_the_others_within_sight() -> None:
    made = world(replace(WEEK, last="2026-10-31", concurrency=2))
    for _ in range(30):
        for run in made.going_on()[1:]:
            made.end(run.name)
        made.look()
    assert days(made) == list(range(1, 9))
    assert (progress(made).succeeded, progress(made).active) == (0, 1)


def test_paused_rests_and_resumed_goes_on() -> None:
    made = world()
    edit(made, paused=True)
    go_on(made, 3)
    assert (days(made), progress(made).state, progress(made).succeeded) == ([1], "Paused", 1)
    edit(made, paused=False)
    go_on(made, 10)
    assert (days(made), progress(made).state) == ([1, 2, 3, 4, 5, 6, 7], "Completed")


def test_removed_it_stops_and_put_back_it_goes_on() -> None:
    made = world()
    go_on(made, 2)
    made.edit(backfill=None)
    made.look()
    assert (progress(made).state, progress(made).active) == ("Stopped", 1)
    go_on(made, 2)
    made.runs.clear()
    assert days(made) == [1, 2, 3]
    made.edit(backfill=WEEK)
    go_on(made, 10)
    assert (days(made), progress(made).succeeded) == ([1, 2, 3, 4, 5, 6, 7], 7)


def test_removed_after_its_end_it_stays_what_it_was() -> None:
    made = world()
    go_on(made, 10)
    before = progress(made)
    made.edit(backfill=None)
    made.look()
    assert (progress(made), before.state) == (before, "Completed")


def test_another_id_begins_anew_after_the_runs_of_the_former() -> None:
    made = world()
    edit(made, id="again")
    made.look()
    assert (progress(made).id, progress(made).state) == ("again", "Waiting")
    assert progress(made).message == "Waiting for the runs of an earlier backfill to end"
    go_on(made, 8)
    assert days(made) == [1, 1, 2, 3, 4, 5, 6, 7]
    assert (progress(made).succeeded, progress(made).state) == (7, "Completed")


def test_another_range_under_the_same_id_makes_what_is_new_and_counts_what_was_made() -> None:
    made = world()
    go_on(made, 3)
    edit(made, first="2026-09-29", last="2026-10-03")
    go_on(made, 8)
    assert [tick.day for tick in made.ticks(Cause.BACKFILL)] == [1, 2, 3, 4, 29, 30]
    assert (progress(made).total, progress(made).succeeded, progress(made).state) == (5, 5, "Completed")
    edit(made, last="2026-10-08")
    go_on(made, 10)
    assert days(made) == [1, 2, 3, 4, 29, 30, 5, 6, 7, 8]
    assert (progress(made).total, progress(made).succeeded, progress(made).state) == (10, 10, "Completed")


def test_another_expression_counts_for_the_rest_of_the_range() -> None:
    made = world()
    go_on(made, 3)
    made.edit(cron_expression="0 */12 * * *")
    go_on(made, 12)
    # The run of 4 October, 06:00, had begun; 00:00 and 12:00 from the 3rd on are left.
    hours_made = [(tick.day, tick.hour) for tick in made.ticks(Cause.BACKFILL)]
    rest = [(3, 12), *[(day, hour) for day in (4, 5, 6, 7) for hour in (0, 12)]]
    assert hours_made == [(1, 6), (2, 6), (3, 6), (4, 6), *rest]
    assert (progress(made).total, progress(made).succeeded, progress(made).state) == (12, 12, "Completed")


def test_after_its_end_another_expression_makes_nothing_of_the_past() -> None:
    made = world()
    go_on(made, 8)
    before = progress(made)
    made.edit(cron_expression="0 */12 * * *")
    go_on(made, 2)
    assert len(made.made) == 7
    assert (progress(made), before.state) == (before, "Completed")


def test_ticks_to_come_are_left_to_the_schedule() -> None:
    made = world(replace(WEEK, first="2026-11-20", last="2026-11-25"))
    made.now = T0 + hours(4)  # 22 November, 06:00 has come
    go_on(made, 3)
    assert (days(made), progress(made).state) == ([20, 21], "Completed")
    assert progress(made).message == "Ticks after 2026-11-22T03:00:00Z, when it began, are the schedule's own"


def test_a_range_without_ticks_ends_at_once() -> None:
    made = world(replace(WEEK, first="2026-10-01T07:00:00Z", last="2026-10-02T05:00:00Z"))
    assert (progress(made).state, progress(made).message) == ("Completed", "No tick of the schedule is in the range")


@pytest.mark.parametrize(
    ("backfill", "words"),
    [
        (replace(WEEK, first="october"), "spec.backfill.from: 'october', expected a day"),
        (replace(WEEK, last="2026-09-01"), "spec.backfill.to: '2026-09-01', expected no earlier than from"),
        (replace(WEEK, first="1990-01-01"), "expected at most 5000 ticks"),
    ],
)
def test_one_that_cant_be_is_invalid_until_it_is_mended(backfill: BackfillSpec, words: str) -> None:
    made = world(backfill)
    assert (progress(made).state, made.made) == ("Invalid", [])
    assert words in progress(made).message
    assert made.schedule.status.conditions[0].is_true
    before = made.schedule.status
    made.now += minutes(1)
    assert made.look().status == before
    made.edit(backfill=WEEK)
    go_on(made, 8)
    assert progress(made).state == "Completed"


def test_no_room_keeps_it_waiting_until_it_is_told_to_ask_again() -> None:
    made = World(new_schedule(backfill=WEEK, cron_expression="0 6 * * *"), slots=0)
    decision = made.look()
    assert (progress(made).state, progress(made).message) == ("Waiting", "Daily pipeline limit (20) reached")
    assert decision.look_again_at == T0 + hours(1)
    made.slots = 1
    made.look()
    assert (days(made), progress(made).state, progress(made).message) == ([1], "Running", "")


def test_the_room_is_shared_with_what_is_caught_up() -> None:
    made = world(None, catch_up=CatchUp.ALL, cron_expression="0 * * * *")
    made.slots = 1
    made.now = T0 + hours(1.5)
    made.edit(backfill=replace(WEEK, concurrency=10))
    decision = made.look()
    assert [make.cause for make in decision.makes] == [Cause.CATCH_UP]
    assert progress(made).state == "Waiting"


@pytest.mark.parametrize(
    ("inactive", "problem", "words"),
    [
        ("The subscription is suspended", None, "The subscription is suspended"),
        ("", ("PipelineNotFound", "gcp/cost/billing isn't there"), "gcp/cost/billing isn't there"),
    ],
)
def test_without_leave_it_waits(inactive: str, problem: tuple[str, str] | None, words: str) -> None:
    made = World(new_schedule(backfill=WEEK), inactive=inactive, problem=problem)
    made.look()
    assert (made.made, progress(made).state, progress(made).message) == ([], "Waiting", words)
    assert made.missed == {}


def test_without_an_expression_it_waits_and_begins_when_there_is_one() -> None:
    made = world(cron_expression="0 25 * * *")
    assert (progress(made).state, progress(made).total) == ("Waiting", 0)
    made.now += hours(1)
    made.edit(cron_expression="0 6 * * *")
    go_on(made, 8)
    assert (progress(made).state, progress(made).total) == ("Completed", 7)


def test_it_works_while_the_schedule_is_disabled() -> None:
    made = world(enabled=False)
    go_on(made, 8)
    assert progress(made).state == "Completed"


def test_it_leaves_the_ticks_of_the_schedule_alone() -> None:
    made = world(replace(WEEK, last="2026-11-21"))
    made.run_until(T0 + hours(3))
    assert made.ticks() == [T0 + hours(3)]
    assert made.schedule.status.handled_until == T0 + hours(3)


def test_a_range_that_has_its_runs_already_is_counted_in_few_questions() -> None:
    made = World(new_schedule(backfill=replace(WEEK, concurrency=10), cron_expression="*/15 * * * *"))
    for _ in range(70):
        made.look()
        made.end_all()
        made.runs.clear()
    assert (progress(made).state, progress(made).total) == ("Completed", 672)
    made.asked.clear()
    edit(made, last="2026-10-08")
    decision = made.look()
    assert decision.look_again_at == made.now + timedelta(seconds=1)
    assert (progress(made).state, progress(made).succeeded) == ("Running", 540)
    made.look()
    assert progress(made).succeeded == 672
    assert len(made.asked) <= 6


def test_thousands_of_runs_that_it_has_already_are_counted_pass_by_pass() -> None:
    """`World` looks things up as often for one decision as the operator does."""
    made = World(new_schedule(backfill=replace(WEEK, last="2026-10-03"), cron_expression="* * * * *"))
    first = datetime(2026, 10, 1, tzinfo=UTC)
    ticks = [first + minutes(count) for count in range(4_320)]
    made.records = {backfill_run_id(UID, "october", tick): Phase.COMPLETED for tick in ticks}
    counted = []
    while progress_or_none(made) is None or progress(made).state != "Completed":
        decision = made.look()
        counted.append(progress(made).succeeded)
        assert len(counted) < 15
        made.now = decision.look_again_at or made.now
    assert counted == sorted(set(counted))
    assert (progress(made).succeeded, made.made) == (4_320, [])


def test_a_schedule_made_anew_with_the_same_backfill_has_runs_of_its_own_beside_the_former_ones() -> None:
    first = world()
    again = World(replace(first.schedule, uid="another", status=ScheduleStatus()))
    again.look()
    assert (days(first), days(again)) == ([1], [1])
    assert not first.runs.keys() & again.runs.keys()


def test_without_postgresql_it_waits_with_what_it_counted() -> None:
    made = world()
    go_on(made, 2)
    made.is_store_away = True
    decision = made.look()
    assert (progress(made).state, progress(made).message) == ("Running", "")
    assert decision.look_again_at == made.now + timedelta(seconds=10)
    made.end_all()
    made.asked.clear()
    made.look()
    assert (progress(made).state, progress(made).message) == ("Waiting", "PostgreSQL is away")
    assert (made.asked, progress(made).succeeded) == ([], 2)
    edit(made, paused=True)
    made.look()
    assert progress(made).state == "Paused"
    edit(made, paused=False)
    made.is_store_away = False
    go_on(made, 8)
    assert (days(made), progress(made).state) == ([1, 2, 3, 4, 5, 6, 7], "Completed")


def test_a_decision_that_is_asked_for_again_counts_the_range_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    count = Timetable.count

    def counted(self: Timetable, after: datetime, until: datetime, at_most: int) -> int:
        counts.append(at_most)
        return count(self, after, until, at_most)

    monkeypatch.setattr(Timetable, "count", counted)
    made = World(new_schedule(backfill=replace(WEEK, first="2026-09-17", last="2026-12-31")))
    made.look()
    assert len(made.asked) > 1
    assert len(counts) == 1


def test_a_run_deleted_before_it_ended_holds_its_place_until_its_record_ends() -> None:
    made = world()
    made.runs.clear()
    decision = made.look()
    assert (decision.makes, decision.look_again_at) == ((), T0 + minutes(5))
    made.records = dict.fromkeys(made.records, Phase.CANCELLED)
    made.look()
    assert (days(made), progress(made).failed) == ([1, 2], 1)


def test_without_what_it_counts_from_it_goes_on() -> None:
    """A status written by an earlier version, or stored under an older schema."""
    made = world()
    go_on(made, 2)
    made.schedule = replace(
        made.schedule, status=replace(made.schedule.status, backfill=replace(progress(made), covers=""))
    )
    go_on(made, 6)
    assert (days(made), progress(made).succeeded) == ([1, 2, 3, 4, 5, 6, 7], 7)


def test_a_backfill_goes_on_after_a_crash_at_each_step() -> None:
    made = world(replace(WEEK, concurrency=3))
    for crash_after in (0, 1, 2, 1, 0, 3, 2, 1) * 4:
        made.now += timedelta(seconds=20)
        made.look(crash_after)
        made.end_all()
    go_on(made, 8)
    assert (days(made), progress(made).succeeded) == ([1, 2, 3, 4, 5, 6, 7], 7)
