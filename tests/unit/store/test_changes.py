"""A record only goes forward: every report, in any order, keeps phases, times and the end as they were."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.changes import Columns, advanced, finished
from pipeline_core.store.runs import StoredRun, Transition, phase_of
from support.runs import T0, after, stored_run

RUNNING = stored_run(
    phase=Phase.RUNNING,
    started_at=after(2),
    progress=30,
    attempts=1,
    transitions=(
        Transition(Phase.PENDING, T0),
        Transition(Phase.VALIDATING, after(1)),
        Transition(Phase.RUNNING, after(2)),
    ),
    revision=3,
)
COMPLETED = replace(RUNNING, phase=Phase.COMPLETED, completed_at=after(9), records_processed=5, progress=100)


def passed(columns: Columns) -> list[tuple[str, datetime]]:
    return [(entry["phase"], datetime.fromisoformat(entry["at"])) for entry in columns["transitions"]]


def applied(run: StoredRun, columns: Columns) -> StoredRun:
    values = dict(columns)
    if "status" in values:
        values["phase"] = phase_of(values.pop("status"))
    if "transitions" in values:
        values["transitions"] = tuple(Transition(phase_of(name), at) for name, at in passed(values))
    return replace(run, **values)


def test_phases_passed_over_are_recorded_with_the_latest_time_they_can_have_had() -> None:
    columns = advanced(stored_run(), phase=Phase.PROCESSING, at=after(9), started_at=after(4))
    assert passed(columns) == [
        ("pending", T0),
        ("validating", after(4)),
        ("running", after(4)),
        ("processing", after(9)),
    ]
    assert columns["status"] == "processing"
    assert columns["started_at"] == after(4)
    assert columns["revision"] == 2


def test_a_start_reported_as_later_than_the_phase_after_it_is_held_to_that() -> None:
    columns = advanced(stored_run(), phase=Phase.RUNNING, at=after(4), started_at=after(7))
    assert columns["started_at"] == after(4)


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.VALIDATING, Phase.RUNNING])
def test_an_earlier_or_the_same_phase_changes_nothing(phase: Phase) -> None:
    assert advanced(RUNNING, phase=phase, at=after(20)) == {}


def test_progress_and_message_change_without_a_revision_since_bigquery_has_neither() -> None:
    columns = advanced(RUNNING, phase=Phase.RUNNING, at=after(3), progress=45, message="extracting")
    assert columns == {"progress": 45, "message": "extracting"}


def test_progress_never_goes_back_within_an_attempt() -> None:
    assert advanced(RUNNING, phase=Phase.RUNNING, at=after(3), progress=10) == {}


@pytest.mark.parametrize(("reported", "stored"), [(-5, 0), (250, 100)])
def test_progress_is_held_to_0_to_100(reported: int, stored: int) -> None:
    assert (
        applied(stored_run(), advanced(stored_run(), phase=Phase.PENDING, at=T0, progress=reported)).progress == stored
    )


def test_a_late_report_of_an_earlier_phase_brings_no_progress_or_message() -> None:
    assert advanced(RUNNING, phase=Phase.VALIDATING, at=after(3), progress=99, message="waiting") == {}


def test_a_new_attempt_starts_its_progress_over_and_keeps_the_phase() -> None:
    processing = applied(RUNNING, advanced(RUNNING, phase=Phase.PROCESSING, at=after(5), progress=80))
    columns = advanced(processing, phase=Phase.RUNNING, at=after(8), attempts=2, message="attempt 2")
    assert columns == {"attempts": 2, "progress": 0, "message": "attempt 2"}


@pytest.mark.parametrize("phase", [phase for phase in Phase if not phase.is_final])
def test_nothing_moves_after_the_end(phase: Phase) -> None:
    assert advanced(COMPLETED, phase=phase, at=after(30), progress=1, attempts=7, job_name="j", message="m") == {}


@pytest.mark.parametrize("phase", [Phase.COMPLETED, Phase.FAILED, Phase.CANCELLED])
def test_the_first_end_stands(phase: Phase) -> None:
    assert finished(COMPLETED, phase=phase, at=after(30), records_processed=9, error_message="late") == {}


def test_completion_has_come_through_every_phase() -> None:
    run = applied(stored_run(), finished(stored_run(), phase=Phase.COMPLETED, at=after(9), records_processed=7))
    assert [entry.phase for entry in run.transitions] == [
        Phase.PENDING,
        Phase.VALIDATING,
        Phase.RUNNING,
        Phase.PROCESSING,
        Phase.COMPLETED,
    ]
    assert (run.progress, run.records_processed, run.started_at) == (100, 7, after(9))


def test_a_run_that_never_started_has_no_start_and_no_phases_it_never_saw() -> None:
    run = applied(stored_run(), finished(stored_run(), phase=Phase.FAILED, at=after(1), error_message="Unknown"))
    assert run.started_at is None
    assert [entry.phase for entry in run.transitions] == [Phase.PENDING, Phase.FAILED]


def test_the_first_refusal_stands_with_the_end_it_belongs_to() -> None:
    ends = {"phase": Phase.FAILED, "at": after(1), "reason": "Rejected"}
    refused = applied(stored_run(), finished(stored_run(), **ends, refusal="DailyLimitReached"))
    assert (refused.reason, refused.refusal) == ("Rejected", "DailyLimitReached")
    assert finished(refused, **ends, refusal="MonthlyLimitReached") == {}


def test_a_failure_whose_container_started_passed_running() -> None:
    run = applied(stored_run(), finished(stored_run(), phase=Phase.FAILED, at=after(5), started_at=after(3)))
    assert run.started_at == after(3)
    assert [entry.phase for entry in run.transitions] == [
        Phase.PENDING,
        Phase.VALIDATING,
        Phase.RUNNING,
        Phase.FAILED,
    ]


def test_what_no_database_can_store_is_made_storable() -> None:
    columns = finished(
        RUNNING, phase=Phase.FAILED, at=after(5), records_processed=10**30, error_message="\x00\ud800" + "x" * 9000
    )
    assert columns["records_processed"] == 2**63 - 1
    assert columns["error_message"].startswith("\ufffd?x")
    assert len(columns["error_message"]) == 8192
    assert columns["error_message"].endswith("(cut)")


def test_times_are_kept_in_utc_and_one_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        finished(RUNNING, phase=Phase.FAILED, at=datetime(2026, 11, 4))
    assert finished(RUNNING, phase=Phase.FAILED, at=after(5))["completed_at"].tzinfo is UTC


def test_each_kind_of_phase_has_its_own_door() -> None:
    with pytest.raises(ValueError, match="is final"):
        advanced(RUNNING, phase=Phase.FAILED, at=after(5))
    with pytest.raises(ValueError, match="isn't final"):
        finished(RUNNING, phase=Phase.PROCESSING, at=after(5))
