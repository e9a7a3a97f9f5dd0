"""decide(): what to do next, case by case, and what it must never do, by property."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_core.lifecycle import actions as d
from pipeline_core.lifecycle.decide import decide
from pipeline_core.lifecycle.observed import Job, Observed, Pod, Progress, Published, Run, RunSpec, RunStatus
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.lifecycle.waiting import SLOW
from pipeline_core.outcome import Outcome

T0 = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
LIMITS = d.Deadlines()
NOW = T0 + timedelta(seconds=10)
GOOD = Outcome(status="succeeded", records_processed=42)
BAD = Outcome(status="failed", error="ExternalBQExtractor: table not found")

SPEC = RunSpec(org="acme", provider="gcp", domain="cost", pipeline="billing")
RUN = Run("default", "billing", "uid-1", "run_1", "7", 1, T0, SPEC)
JOB = Job("run-1", "job-1", ("default", "billing"), T0, 3600)
POD = Pod("run-1-a", "pod-1", T0, "Running", started_at=T0 + timedelta(seconds=2))
DONE = replace(POD, phase="Succeeded", finished_at=NOW, exit_code=0, outcome=GOOD)
DEAD = replace(POD, phase="Failed", finished_at=NOW, exit_code=65, outcome=BAD)
CANCEL = replace(RUN, spec=replace(SPEC, cancel=True))
KNOWN = replace(RUN, status=RunStatus(Phase.VALIDATING, "run_1", "run-1"))
OVER = replace(RUN, status=RunStatus(Phase.COMPLETED, "run_1", "run-1", T0, T0))


def action(run: Run, job: Job | None = None, *pods: Pod, progress: Progress | None = None) -> d.Action | None:
    return decide(Observed(run, job, pods, progress), NOW).action


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
    last = decide(Observed(CANCEL), NOW)
    assert isinstance(last.action, d.Finish)
    assert last.action.phase is Phase.CANCELLED
    assert last.needs_live


def test_a_job_that_is_missing_is_believed_only_after_a_live_look() -> None:
    decision = decide(Observed(KNOWN), NOW)
    assert isinstance(decision.action, d.Finish)
    assert decision.action.reason is Reason.JOB_DELETED
    assert decision.needs_live


def test_a_pod_that_cannot_start_is_shown_and_given_up_after_its_deadline() -> None:
    stuck = replace(POD, phase="Pending", started_at=None, waiting=("ErrImagePull", "no such image"))
    decision = decide(Observed(KNOWN, JOB, (stuck,)), NOW)
    assert isinstance(decision.action, d.Report)
    assert "no such image" in decision.action.message
    assert decision.look_again_at == T0 + LIMITS.start
    late = decide(Observed(KNOWN, JOB, (stuck,)), T0 + LIMITS.start)
    assert isinstance(late.action, d.Finish)
    assert late.action.reason is Reason.START_FAILED


def test_a_job_without_a_pod_says_where_to_look() -> None:
    decision = decide(Observed(KNOWN, JOB), T0)
    assert isinstance(decision.action, d.Report)
    assert decision.action.message == "Waiting for the runner to start"
    assert decision.look_again_at == T0 + SLOW
    late = decide(Observed(KNOWN, JOB), T0 + SLOW)
    assert isinstance(late.action, d.Report)
    assert late.action.message == "Waiting for a pod: see why with: kubectl describe job run-1"
    assert late.explain == JOB.uid


def test_a_job_that_outlives_its_run_is_deleted() -> None:
    given_up = replace(OVER, status=replace(OVER.status, phase=Phase.FAILED))
    assert isinstance(action(given_up, JOB, POD), d.StopJob)
    assert action(given_up, replace(JOB, failed=("BackoffLimitExceeded", "")), DEAD) is None


def test_the_job_of_a_completed_run_is_left_to_complete_with_its_log() -> None:
    assert action(OVER, JOB, DONE) is None
    assert action(OVER, JOB) is None


def test_a_finished_run_expires_by_its_time_to_live() -> None:
    decision = decide(Observed(OVER), NOW)
    assert decision.action is None
    assert decision.look_again_at == T0 + timedelta(days=7)
    brief = replace(OVER, spec=replace(SPEC, ttl_seconds=5))
    expired = decide(Observed(brief), NOW)
    assert (expired.action, expired.needs_live) == (d.Expire(), True)


def test_a_run_that_is_held_from_being_deleted_is_stopped_but_a_success_counts() -> None:
    deleting = replace(RUN, deleting=True)
    assert isinstance(action(deleting, JOB, POD), d.StopJob)
    finish = action(deleting, JOB, DONE)
    assert isinstance(finish, d.Finish)
    assert finish.phase is Phase.COMPLETED


WAITING = replace(POD, phase="Pending", started_at=None, scheduled_at=T0)
FULL = replace(WAITING, scheduled_at=None, waiting=("Unschedulable", "0/3 nodes: Insufficient cpu"))
CREATING = replace(WAITING, waiting=("ContainerCreating", ""))
SUSPENDED = replace(JOB, suspended=True, turned_at=T0)


@pytest.mark.parametrize(
    ("job", "pods", "allowed", "reason", "words"),
    [
        (JOB, (), LIMITS.schedule, Reason.START_FAILED, "pod could not be created within 900s: FailedCreate: quota"),
        (JOB, (FULL,), LIMITS.schedule, Reason.UNSCHEDULABLE, "No node took the runner within 900s: 0/3 nodes"),
        (JOB, (CREATING,), LIMITS.start, Reason.START_FAILED, "could not start within 300s: FailedCreate: quota"),
        (JOB, (WAITING,), LIMITS.start, Reason.START_FAILED, "could not start within 300s"),
        (SUSPENDED, (), LIMITS.start, Reason.JOB_SUSPENDED, "suspended and not resumed within 300s"),
    ],
)
def test_a_wait_that_kubernetes_would_never_end_is_told_and_then_given_up(
    job: Job, pods: tuple[Pod, ...], allowed: timedelta, reason: Reason, words: str
) -> None:
    observed = Observed(KNOWN, job, pods, words="FailedCreate: quota")
    before = decide(observed, T0 + allowed - timedelta(seconds=1))
    assert isinstance(before.action, d.Report)
    assert before.look_again_at == T0 + allowed
    after = decide(observed, T0 + allowed)
    assert isinstance(after.action, d.Finish)
    assert (after.action.phase, after.action.reason, after.needs_live) == (Phase.FAILED, reason, True)
    assert words in after.action.message


def test_a_retry_that_cannot_start_is_given_up_as_well() -> None:
    second = replace(CREATING, uid="pod-2", created_at=NOW, scheduled_at=NOW)
    finish = decide(Observed(KNOWN, JOB, (replace(DEAD, exit_code=75), second)), NOW + LIMITS.start).action
    assert isinstance(finish, d.Finish)
    assert (finish.reason, finish.attempts) == (Reason.START_FAILED, 2)


def test_a_resumed_job_gets_its_time_for_a_pod_anew() -> None:
    late = T0 + timedelta(hours=1)
    resumed = replace(JOB, turned_at=late)
    assert isinstance(decide(Observed(KNOWN, resumed), late).action, d.Report)


@pytest.mark.parametrize(
    ("status", "job", "pods_went"),
    [
        (replace(KNOWN.status, phase=Phase.RUNNING, started_at=T0), JOB, False),
        (replace(KNOWN.status, attempts=1), JOB, False),
        (KNOWN.status, replace(JOB, attempts=1), False),
        (KNOWN.status, JOB, True),
    ],
    ids=["it had started", "an attempt is told of", "the Job counts one", "this process has seen one go"],
)
def test_a_run_whose_pod_was_drained_is_waited_for_and_not_given_up(
    status: RunStatus, job: Job, pods_went: bool
) -> None:
    run = replace(KNOWN, status=status)
    late = T0 + LIMITS.schedule + timedelta(hours=1)
    decision = decide(Observed(run, job, pods_went=pods_went, words="FailedCreate: quota"), late)
    assert isinstance(decision.action, d.Report)
    assert (decision.action.reason, decision.action.phase) == (Reason.RETRYING, status.phase)
    assert decision.action.message == "Waiting for the Job to make the next attempt's pod: FailedCreate: quota"
    assert (decision.explain, decision.look_again_at) == (JOB.uid, late + d.RECHECK)


def test_the_count_of_attempts_never_goes_back() -> None:
    run = replace(KNOWN, status=replace(KNOWN.status, started_at=T0, attempts=2))
    report = action(run, JOB)
    assert isinstance(report, d.Report)
    assert report.attempts == 2


def test_between_two_attempts_the_end_of_the_first_is_told() -> None:
    report = action(KNOWN, JOB, replace(DEAD, exit_code=75))
    assert isinstance(report, d.Report)
    assert (report.reason, report.phase) == (Reason.RETRYING, Phase.VALIDATING)
    assert report.message.startswith("Attempt 1 ended (ExternalBQExtractor: table not found)")


def test_no_retry_is_announced_where_none_will_come() -> None:
    report = action(KNOWN, JOB, DEAD)
    assert isinstance(report, d.Report)
    assert report.reason is Reason.RUNNING


def test_a_pod_on_a_silent_node_is_named_with_what_to_do() -> None:
    held = replace(POD, deleting=True, gone_by=T0, node="node-7")
    for run in (KNOWN, CANCEL):
        early = action(run, replace(JOB, deleting=True), held)
        late = decide(Observed(run, replace(JOB, deleting=True), (held,)), T0 + timedelta(minutes=1)).action
        assert isinstance(early, d.Report)
        assert isinstance(late, d.Report)
        assert "node-7" not in early.message
        assert "node node-7 doesn't answer" in late.message


TOLD = Published("pod-1", 42, 3.0, NOW)


def published(run: Run, job: Job | None, *pods: Pod) -> d.Action | None:
    return decide(Observed(run, job, pods, published=TOLD), NOW).action


@pytest.mark.parametrize("run", [RUN, KNOWN, CANCEL, replace(KNOWN, deleting=True)])
@pytest.mark.parametrize("pod", [POD, WAITING])
def test_the_runners_word_from_its_live_pod_completes_the_run(run: Run, pod: Pod) -> None:
    finish = published(run, JOB, pod)
    assert isinstance(finish, d.Finish)
    started = pod.started_at or NOW - timedelta(seconds=3)
    assert (finish.phase, finish.records, finish.started_at, finish.completed_at) == (
        Phase.COMPLETED, 42, started, NOW,
    )  # fmt: skip


@pytest.mark.parametrize("pods", [(), (replace(POD, uid="pod-2"),), (replace(DEAD, exit_code=75),)])
def test_the_word_of_an_unknown_or_ended_pod_is_not_believed(pods: tuple[Pod, ...]) -> None:
    assert not isinstance(published(KNOWN, JOB, *pods), d.Finish)


def test_the_word_comes_too_late_for_a_job_that_has_failed() -> None:
    finish = published(KNOWN, replace(JOB, failed=("DeadlineExceeded", "")), POD)
    assert isinstance(finish, d.Finish)
    assert finish.phase is Phase.FAILED


def test_an_attempt_after_the_one_that_published_is_stopped() -> None:
    second = replace(POD, uid="pod-2", created_at=NOW)
    assert isinstance(published(OVER, JOB, second), d.StopJob)
    assert published(OVER, JOB, POD) is None


def test_a_later_exit_code_revises_nothing_but_brings_no_other_attempt() -> None:
    completed = replace(OVER, status=replace(OVER.status, attempts=1))
    assert action(completed, JOB, POD) is None
    assert isinstance(action(completed, JOB, replace(DEAD, exit_code=143)), d.StopJob)
    second = replace(POD, uid="pod-2", created_at=NOW)
    assert isinstance(action(completed, JOB, replace(DEAD, exit_code=143), second), d.StopJob)
    assert action(completed, JOB, DONE) is None


def released(run: Run, job: Job | None, *pods: Pod, holds_slot: bool = True) -> d.Decision:
    return decide(Observed(run, job, pods, holds_slot=holds_slot), NOW)


def test_a_run_that_is_over_gives_its_slot_back_once_its_last_pod_has_stopped() -> None:
    assert released(OVER, JOB, POD).action is None
    assert released(OVER, JOB, DONE) == d.Decision(d.Release())
    assert released(OVER, JOB, DONE, holds_slot=False).action is None


def test_not_before_its_job_has_been_stopped_which_could_make_another() -> None:
    failed = replace(OVER, status=replace(OVER.status, phase=Phase.FAILED))
    assert isinstance(released(failed, JOB, DEAD).action, d.StopJob)
    assert released(failed, replace(JOB, deleting=True), POD).action is None
    assert released(failed, replace(JOB, deleting=True), DEAD) == d.Decision(d.Release(), needs_live=True)


def test_that_no_pod_is_left_is_believed_only_after_a_live_look() -> None:
    assert released(OVER, None) == d.Decision(d.Release(), needs_live=True)
    assert released(OVER, None, holds_slot=False).action is None


def test_a_run_that_is_not_over_keeps_its_slot() -> None:
    assert not isinstance(released(KNOWN, JOB, DEAD).action, d.Release)


def test_the_slot_is_given_back_before_the_object_expires() -> None:
    old = replace(OVER, spec=replace(SPEC, ttl_seconds=0))
    assert isinstance(released(old, JOB, DONE).action, d.Release)
    assert isinstance(released(old, JOB, DONE, holds_slot=False).action, d.Expire)


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
    waiting=st.none() | st.sampled_from([("ErrImagePull", "x"), ("ContainerCreating", ""), ("Unschedulable", "x")]),
    deleting=st.booleans(),
    gone_by=_times,
)
_jobs = st.none() | st.builds(
    lambda complete, failed, deleting, suspended: replace(
        JOB, complete=complete, failed=failed, deleting=deleting, suspended=suspended
    ),
    st.booleans(),
    st.none() | st.sampled_from([("DeadlineExceeded", ""), ("BackoffLimitExceeded", "")]),
    st.booleans(),
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


_words = st.none() | st.builds(Published, st.sampled_from(["a", "c"]), st.just(7), st.just(1.0), st.just(NOW))


@given(_runs, _jobs, st.lists(_pods, max_size=3), _words, st.booleans())
def test_every_state_has_a_decision_that_keeps_the_promises(
    run: Run, job: Job | None, pods: list[Pod], told: Published | None, holds_slot: bool
) -> None:
    observed = Observed(run, job, tuple(pods), published=told, holds_slot=holds_slot)
    decision = decide(observed, NOW)
    assert decision == decide(observed, NOW)
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
        case d.Release():
            assert final
            assert holds_slot
            assert all(pod.is_terminal for pod in pods)
            assert decision.needs_live or any(pod.phase == "Succeeded" for pod in pods)
        case d.Expire():
            assert final
            assert decision.needs_live
            assert not (holds_slot and observed.is_at_rest)


def test_a_pod_that_waits_a_moment_for_room_is_starting_like_any_other() -> None:
    early = decide(Observed(KNOWN, JOB, (FULL,)), T0 + SLOW - timedelta(seconds=1))
    assert isinstance(early.action, d.Report)
    assert (early.action.message, early.look_again_at) == ("Waiting for the runner to start", T0 + SLOW)
    late = decide(Observed(KNOWN, JOB, (FULL,)), T0 + SLOW).action
    assert isinstance(late, d.Report)
    assert late.message == "Waiting: Unschedulable: 0/3 nodes: Insufficient cpu"
