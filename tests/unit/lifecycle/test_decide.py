"""decide(): what to do next, case by case, and what it must never do, by property."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_core.lifecycle import decide as d
from pipeline_core.lifecycle.observed import Job, Observed, Pod, Progress, Run, RunSpec, RunStatus
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.outcome import Outcome

T0 = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
NOW = T0 + timedelta(seconds=10)
GOOD = Outcome(status="succeeded", records_processed=42)
BAD = Outcome(status="failed", error="ExternalBQExtractor: table not found")

SPEC = RunSpec(org="acme", provider="gcp", domain="cost", pipeline="billing")
RUN = Run("default", "billing", "uid-1", "run_1", "7", 1, T0, SPEC)
JOB = Job("run-1", "job-1", "uid-1", T0, 3600)
POD = Pod("run-1-a", "pod-1", T0, "Running", started_at=T0 + timedelta(seconds=2))
DONE = replace(POD, phase="Succeeded", finished_at=NOW, exit_code=0, outcome=GOOD)
DEAD = replace(POD, phase="Failed", finished_at=NOW, exit_code=65, outcome=BAD)
CANCEL = replace(RUN, spec=replace(SPEC, cancel=True))
KNOWN = replace(RUN, status=RunStatus(Phase.VALIDATING, "run_1", "run-1"))
OVER = replace(RUN, status=RunStatus(Phase.COMPLETED, "run_1", "run-1", T0, T0))


def action(run: Run, job: Job | None = None, *pods: Pod, progress: Progress | None = None) -> d.Action | None:
    return d.decide(Observed(run, job, pods, progress), NOW).action


def test_a_new_run_is_started() -> None:
    assert action(RUN) == d.Start()


def test_a_run_whose_job_waits_for_its_pod_is_validating() -> None:
    report = action(RUN, JOB)
    assert isinstance(report, d.Report)
    assert (report.phase, report.started_at, report.attempts) == (Phase.VALIDATING, None, 0)


@pytest.mark.parametrize(
    ("stage", "phase"), [("extract", Phase.RUNNING), ("transform", Phase.PROCESSING), ("load", Phase.PROCESSING)]
)
def test_progress_decides_between_running_and_processing(stage: str, phase: Phase) -> None:
    report = action(KNOWN, JOB, POD, progress=Progress("pod-1", stage, 30, 5, NOW))
    assert isinstance(report, d.Report)
    assert (report.phase, report.progress, report.records) == (phase, 30, 5)


def test_progress_of_an_earlier_pod_says_nothing_of_this_one() -> None:
    report = action(KNOWN, JOB, POD, progress=Progress("pod-0", "load", 90, 5, NOW))
    assert isinstance(report, d.Report)
    assert report.phase is Phase.RUNNING


def test_a_retry_never_takes_the_phase_back() -> None:
    run = replace(KNOWN, status=replace(KNOWN.status, phase=Phase.PROCESSING, progress=60))
    report = action(run, JOB, POD)
    assert isinstance(report, d.Report)
    assert (report.phase, report.progress) == (Phase.PROCESSING, 60)


def test_a_succeeded_pod_completes_the_run_before_its_job_says_so() -> None:
    finish = action(KNOWN, JOB, DONE)
    assert isinstance(finish, d.Finish)
    assert (finish.phase, finish.records, finish.completed_at) == (Phase.COMPLETED, 42, NOW)


def test_success_wins_over_a_late_cancel() -> None:
    finish = action(CANCEL, JOB, DONE)
    assert isinstance(finish, d.Finish)
    assert finish.phase is Phase.COMPLETED


def test_exit_code_0_without_an_outcome_is_a_failure() -> None:
    finish = action(KNOWN, JOB, replace(DONE, outcome=None))
    assert isinstance(finish, d.Finish)
    assert (finish.phase, finish.reason) == (Phase.FAILED, Reason.NO_OUTCOME)


def test_a_failed_pod_alone_ends_nothing_for_its_job_may_try_again() -> None:
    assert isinstance(action(KNOWN, JOB, DEAD), d.Report)


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (DEAD, Reason.PROCESSOR_FAILED, "ExternalBQExtractor: table not found"),
        (replace(DEAD, outcome=None, exit_code=1), Reason.NO_OUTCOME, "exited with code 1 and without an outcome"),
        (replace(DEAD, outcome=None, exit_code=137, exit_reason="OOMKilled"), Reason.OUT_OF_MEMORY, "more memory"),
        (replace(DEAD, outcome=None, exit_code=137, exit_reason="Error"), Reason.KILLED, "exit code 137"),
        (replace(DEAD, outcome=None, exit_code=137, reason="Evicted"), Reason.EVICTED, "evicted"),
        (replace(DEAD, outcome=None, exit_code=None), Reason.POD_LOST, "without running to its end"),
        (replace(DEAD, outcome=Outcome(status="terminated"), exit_code=143), Reason.KILLED, "told to stop"),
    ],
)
def test_a_failed_job_is_explained_by_its_newest_pod(pod: Pod, reason: Reason, words: str) -> None:
    older = replace(DEAD, uid="pod-0", finished_at=T0, outcome=Outcome(status="failed", error="older"))
    finish = action(KNOWN, replace(JOB, failed=("BackoffLimitExceeded", "")), older, pod)
    assert isinstance(finish, d.Finish)
    assert (finish.phase, finish.reason, finish.attempts) == (Phase.FAILED, reason, 2)
    assert words in finish.message


def test_a_deadline_is_told_in_the_words_of_the_specification() -> None:
    finish = action(KNOWN, replace(JOB, failed=("DeadlineExceeded", "")), DEAD)
    assert isinstance(finish, d.Finish)
    assert finish.message == "Pipeline execution timed out after 3600s"


def test_cancelling_deletes_the_job_first_then_waits_for_its_pods_then_ends() -> None:
    assert isinstance(action(CANCEL, JOB, POD), d.StopJob)
    waiting = action(CANCEL, replace(JOB, deleting=True), POD)
    assert isinstance(waiting, d.Report)
    assert waiting.reason is Reason.CANCELLING
    assert isinstance(action(CANCEL, None, POD), d.StopPods)
    assert isinstance(action(CANCEL, None, replace(POD, deleting=True)), d.Report)
    last = d.decide(Observed(CANCEL), NOW)
    assert isinstance(last.action, d.Finish)
    assert last.action.phase is Phase.CANCELLED
    assert last.needs_live


def test_a_job_that_is_missing_is_believed_only_after_a_live_look() -> None:
    decision = d.decide(Observed(KNOWN), NOW)
    assert isinstance(decision.action, d.Finish)
    assert decision.action.reason is Reason.JOB_DELETED
    assert decision.needs_live


def test_a_pod_that_cannot_start_is_shown_and_given_up_after_its_deadline() -> None:
    stuck = replace(POD, phase="Pending", started_at=None, waiting=("ErrImagePull", "no such image"))
    decision = d.decide(Observed(KNOWN, JOB, (stuck,)), NOW)
    assert isinstance(decision.action, d.Report)
    assert "no such image" in decision.action.message
    assert decision.look_again_at == T0 + d.START_DEADLINE
    late = d.decide(Observed(KNOWN, JOB, (stuck,)), T0 + d.START_DEADLINE)
    assert isinstance(late.action, d.Finish)
    assert late.action.reason is Reason.START_FAILED


def test_a_job_without_a_pod_says_where_to_look() -> None:
    decision = d.decide(Observed(KNOWN, JOB), T0)
    assert isinstance(decision.action, d.Report)
    assert decision.action.message == "Waiting for the runner to start"
    assert decision.look_again_at == T0 + d.POD_EXPECTED
    late = d.decide(Observed(KNOWN, JOB), T0 + d.POD_EXPECTED).action
    assert isinstance(late, d.Report)
    assert late.message == "No pod yet; see why with: kubectl describe job run-1"


def test_a_job_that_outlives_its_run_is_deleted() -> None:
    given_up = replace(OVER, status=replace(OVER.status, phase=Phase.FAILED))
    assert isinstance(action(given_up, JOB, POD), d.StopJob)
    assert action(given_up, replace(JOB, failed=("BackoffLimitExceeded", "")), DEAD) is None


def test_the_job_of_a_completed_run_is_left_to_complete_with_its_log() -> None:
    assert action(OVER, JOB, DONE) is None
    assert action(OVER, JOB) is None


def test_a_finished_run_expires_by_its_time_to_live() -> None:
    decision = d.decide(Observed(OVER), NOW)
    assert decision.action is None
    assert decision.look_again_at == T0 + timedelta(days=7)
    brief = replace(OVER, spec=replace(SPEC, ttl_seconds=5))
    expired = d.decide(Observed(brief), NOW)
    assert (expired.action, expired.needs_live) == (d.Expire(), True)


def test_a_run_that_is_held_from_being_deleted_is_stopped_but_a_success_counts() -> None:
    deleting = replace(RUN, deleting=True)
    assert isinstance(action(deleting, JOB, POD), d.StopJob)
    finish = action(deleting, JOB, DONE)
    assert isinstance(finish, d.Finish)
    assert finish.phase is Phase.COMPLETED


_times = st.none() | st.just(T0) | st.just(NOW)
_pods = st.builds(
    Pod,
    name=st.just("p"),
    uid=st.sampled_from(["a", "b"]),
    created_at=st.just(T0),
    phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown"]),
    started_at=_times,
    finished_at=_times,
    exit_code=st.none() | st.sampled_from([0, 1, 65, 70, 75, 78, 137, 143]),
    outcome=st.none() | st.sampled_from([GOOD, BAD, Outcome(status="terminated")]),
    waiting=st.none() | st.sampled_from([("ErrImagePull", "x"), ("ContainerCreating", "")]),
    deleting=st.booleans(),
)
_jobs = st.none() | st.builds(
    lambda complete, failed, deleting: replace(JOB, complete=complete, failed=failed, deleting=deleting),
    st.booleans(),
    st.none() | st.sampled_from([("DeadlineExceeded", ""), ("BackoffLimitExceeded", "")]),
    st.booleans(),
)
_runs = st.builds(
    lambda phase, cancel, deleting, job: replace(
        RUN,
        spec=replace(SPEC, cancel=cancel),
        deleting=deleting,
        status=RunStatus(phase, job_name=job, completed_at=T0 if phase and phase.is_final else None),
    ),
    st.none() | st.sampled_from(Phase),
    st.booleans(),
    st.booleans(),
    st.none() | st.just("run-1"),
)


@given(_runs, _jobs, st.lists(_pods, max_size=3))
def test_every_state_has_a_decision_that_keeps_the_promises(run: Run, job: Job | None, pods: list[Pod]) -> None:
    observed = Observed(run, job, tuple(pods))
    decision = d.decide(observed, NOW)
    assert decision == d.decide(observed, NOW)
    final = run.status.phase is not None and run.status.phase.is_final
    match decision.action:
        case d.Start():
            assert job is None
            assert not final
        case d.Report() as report:
            assert not report.phase.is_final
            assert run.status.phase is None or report.phase.rank >= run.status.phase.rank
        case d.Finish() as finish:
            assert finish.phase.is_final
            assert not final
            if finish.phase is Phase.CANCELLED:
                assert job is None
                assert decision.needs_live
                assert all(pod.is_terminal for pod in pods)
        case d.Expire():
            assert final
            assert decision.needs_live
