"""Which objects of runs are kept, and what is said of the newest end."""

from dataclasses import replace
from datetime import datetime

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.history import last_end, prunes
from pipeline_core.schedules.observed import BackfillProgress, Backlog, Cause, ScheduledRun, ScheduleStatus
from support.schedule_world import SPEC, T0, hours

STATUS = ScheduleStatus(handled_until=T0 + hours(100))


def run(number: int, phase: Phase = Phase.COMPLETED, cause: Cause = Cause.TICK, **fields: object) -> ScheduledRun:
    """It ended so many hours after T0, which was its tick."""
    at: datetime = T0 + hours(number)
    backfill = "october" if cause is Cause.BACKFILL else None
    tick = None if cause is Cause.TRIGGER else at
    made = ScheduledRun(f"run_{number}", f"n-{number}", f"u-{number}", cause, at, tick, backfill, phase, at)
    return replace(replace(made, is_settled=phase.is_final), **fields)  # type: ignore[arg-type]


def pruned(runs: list[ScheduledRun], status: ScheduleStatus = STATUS, **fields: object) -> set[str]:
    found = prunes(runs, replace(SPEC, **fields), status)  # type: ignore[arg-type]
    return {prune.name for prune in found}


def test_the_newest_of_each_kind_are_kept() -> None:
    runs = [run(number) for number in (1, 5, 3)] + [run(number, Phase.FAILED) for number in (2, 6, 4)]
    assert pruned(runs, keep_successful=2, keep_failed=1) == {"n-1", "n-2", "n-4"}
    assert pruned(runs) == set()
    assert pruned(runs, keep_successful=0, keep_failed=0) == {f"n-{number}" for number in range(1, 7)}


def test_cancelled_runs_count_as_failed() -> None:
    runs = [run(1, Phase.FAILED), run(2, Phase.CANCELLED), run(3)]
    assert pruned(runs, keep_failed=1, keep_successful=1) == {"n-1"}


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.is_final])
def test_a_run_that_goes_on_is_kept(phase: Phase) -> None:
    assert pruned([run(1, phase, completed_at=None)], keep_successful=0, keep_failed=0) == set()


def test_a_run_that_holds_a_slot_is_kept_until_it_doesnt() -> None:
    assert pruned([run(1, is_settled=False)], keep_successful=0) == set()


def test_triggered_runs_are_history_too() -> None:
    assert pruned([run(1, cause=Cause.TRIGGER), run(2)], keep_successful=1) == {"n-1"}


@pytest.mark.parametrize(
    ("backfill", "kept"),
    [
        (None, set()),
        (BackfillProgress("october", "Running", 9), {"n-1", "n-2", "n-3"}),
        (BackfillProgress("october", "Running", 9, done_until=T0 + hours(2)), {"n-3"}),
        (BackfillProgress("october", "Completed", 3, done_until=T0 + hours(2)), set()),
        (BackfillProgress("november", "Running", 9), set()),
    ],
)
def test_a_run_of_a_backfill_is_kept_until_it_is_counted(backfill: BackfillProgress | None, kept: set[str]) -> None:
    runs = [run(number, cause=Cause.BACKFILL) for number in (1, 2, 3)]
    names = {each.name for each in runs}
    assert pruned(runs, replace(STATUS, backfill=backfill), keep_successful=0) == names - kept


def test_a_run_is_kept_until_the_status_says_that_its_tick_is_seen_to() -> None:
    runs = [run(number) for number in (1, 2, 3)]
    assert pruned(runs, ScheduleStatus(handled_until=T0 + hours(2)), keep_successful=0) == {"n-1", "n-2"}
    backlog = Backlog(T0 + hours(1), T0 + hours(2))
    assert pruned(runs, replace(STATUS, backlog=backlog), keep_successful=0) == {"n-1", "n-3"}


def test_the_newest_end_is_told_and_never_an_older_one() -> None:
    runs = [run(1), run(3, Phase.FAILED), run(2, Phase.CANCELLED), run(9, Phase.RUNNING, completed_at=None)]
    assert last_end(runs, STATUS) == (Phase.FAILED, T0 + hours(3))
    seen = replace(STATUS, last_outcome=Phase.COMPLETED, last_ended_at=T0 + hours(4))
    assert last_end(runs, seen) == (Phase.COMPLETED, T0 + hours(4))
    assert last_end([], STATUS) == (None, None)
