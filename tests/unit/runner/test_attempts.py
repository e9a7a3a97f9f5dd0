"""When a job that has failed is tried again, and when no more."""

import pytest

from pipeline_runner.bigquery import attempts
from pipeline_runner.bigquery.attempts import Attempts
from pipeline_runner.bigquery.failures import STALE
from pipeline_runner.errors import TransientError

AWAY = TransientError("loading: backendError")
CONFLICT = TransientError(
    "publishing: Transaction is aborted due to concurrent update against table p:d._pipelines_locks"
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr(attempts.time, "monotonic", lambda: now[0])
    return now


def test_a_service_that_is_away_is_asked_a_few_times() -> None:
    made = Attempts()
    assert [made.wait_after(AWAY) for _ in range(3)] == [2, 4, 8]
    with pytest.raises(TransientError, match="backendError"):
        made.wait_after(AWAY)


def test_a_job_that_meets_others_goes_on_for_minutes(clock: list[float]) -> None:
    made, begun, waits = Attempts(), clock[0], []
    while clock[0] < begun + 300:
        waits.append(made.wait_after(CONFLICT))
        clock[0] += waits[-1]
    assert waits[:5] == [2, 4, 8, 16, 16]
    with pytest.raises(TransientError, match="concurrent update"):
        made.wait_after(CONFLICT)


def test_conflicts_are_no_failures_of_the_service(clock: list[float]) -> None:
    made = Attempts()
    for _ in range(10):
        made.wait_after(CONFLICT)
    assert made.wait_after(AWAY) == 2


def test_rows_that_are_too_old_are_never_tried_again() -> None:
    with pytest.raises(TransientError):
        Attempts().wait_after(TransientError(f"publishing: {STALE} into p.d.t"))
