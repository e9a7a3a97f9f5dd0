"""The status patch: only what changed, conditions by type, and times that a waiting tool can trust."""

from datetime import UTC, datetime, timedelta

import pytest

from pipeline_core.lifecycle.observed import Run, RunSpec
from pipeline_core.lifecycle.phases import Phase
from pipeline_operator import status

T0 = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
RUN = Run("default", "billing", "uid", "run_1", "7", 3, T0, RunSpec("acme", "gcp", "cost", "billing"))


def wanted(message: str = "Running") -> status.Status:
    conditions = [status.admitted(RUN), status.succeeded(RUN, Phase.RUNNING, "Running", message)]
    return status.build_status(RUN, Phase.RUNNING, conditions, message=message, started_at=T0, progress=10)


def test_nothing_is_written_twice() -> None:
    written = status.merge({}, wanted(), T0)
    assert written is not None
    assert status.merge(written, wanted(), T0 + timedelta(minutes=5)) is None


def test_only_what_changed_is_written_and_a_message_does_not_move_a_transition() -> None:
    before = status.merge({}, wanted(), T0)
    assert before is not None
    patch = status.merge(before, wanted("Still running"), T0 + timedelta(minutes=5))
    assert patch is not None
    assert patch.keys() == {"message", "conditions"}
    times = {c["type"]: c["lastTransitionTime"] for c in patch["conditions"]}
    assert times == {"Admitted": "2026-11-22T03:00:00Z", "Succeeded": "2026-11-22T03:00:00Z"}


def test_the_end_moves_the_transition_of_its_condition_alone() -> None:
    before = status.merge({}, wanted(), T0)
    assert before is not None
    end = status.build_status(
        RUN,
        Phase.COMPLETED,
        [status.succeeded(RUN, Phase.COMPLETED, "Completed", "done")],
        message="done",
        started_at=T0,
        completed_at=T0 + timedelta(seconds=42),
    )
    patch = status.merge(before, end, T0 + timedelta(minutes=5))
    assert patch is not None
    assert patch["duration"] == "42s"
    times = {c["type"]: c["lastTransitionTime"] for c in patch["conditions"]}
    assert times == {"Admitted": "2026-11-22T03:00:00Z", "Succeeded": "2026-11-22T03:05:00Z"}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (90_061, "25h01m"), (-3, "0s")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert status.format_duration(seconds) == text
