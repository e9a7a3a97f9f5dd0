"""Decides what to do next for one run: pure, total, and the same answer for the same facts.

Every answer is safe to carry out twice. An answer that rests on something *not* being there is unsafe on the watch's
memory alone: `Decision.needs_live` makes the caller look again at the API server and ask once more.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_core.lifecycle.failures import STUCK_WAITING, explain_failed_job
from pipeline_core.lifecycle.observed import Job, Observed, Pod, Progress, Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason

# How long a pod may wait for something that only a person can give (an image, room on a node).
START_DEADLINE = timedelta(minutes=5)
# A Job has its pod within a second, unless something refuses the pod.
POD_EXPECTED = timedelta(seconds=15)
# Progress alone is written to the object at most this often.
PROGRESS_INTERVAL = timedelta(seconds=5)
# A safety net for an event that never came; the watch is what normally wakes a run.
RECHECK = timedelta(seconds=15)


@dataclass(frozen=True, slots=True)
class Start:
    """Admit the run, write its record, create its Job."""


@dataclass(frozen=True, slots=True)
class Report:
    """Write where the run stands."""

    phase: Phase
    reason: Reason
    message: str
    started_at: datetime | None
    progress: int
    records: int | None
    attempts: int


@dataclass(frozen=True, slots=True)
class StopJob:
    """Delete the run's Job and its pods."""

    message: str


@dataclass(frozen=True, slots=True)
class StopPods:
    """Delete the run's pods that go on without a Job."""


@dataclass(frozen=True, slots=True)
class Finish:
    """Write the run's final record, then its status."""

    phase: Phase
    reason: Reason
    message: str
    started_at: datetime | None = None
    completed_at: datetime | None = None
    records: int | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Expire:
    """Delete the object: its time to live is over."""


Action = Start | Report | StopJob | StopPods | Finish | Expire


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now (None: nothing) and when to look again without being woken (None: never)."""

    action: Action | None = None
    look_again_at: datetime | None = None
    needs_live: bool = False


def decide(observed: Observed, now: datetime) -> Decision:
    """What to do next for the run, given all that is observed at `now`."""
    run, job = observed.run, observed.job
    if run.status.phase is not None and run.status.phase.is_final:
        return _after_the_end(run, job, observed.pods, now)
    succeeded = _succeeded(observed.pods)
    if succeeded is not None:
        return Decision(_completed(observed, succeeded))
    if job is not None and job.failed is not None:
        # Live, as the pod's watch may be behind the Job's, and the pod has the runner's own words.
        return Decision(_failed(observed, job), needs_live=True)
    if job is not None and job.complete:
        return _complete_without_pod(observed)
    if run.spec.cancel or run.deleting:
        return _cancel(observed, now)
    if job is None:
        return _without_job(observed, now)
    return _in_progress(observed, job, now)


def _after_the_end(run: Run, job: Job | None, pods: tuple[Pod, ...], now: datetime) -> Decision:
    goes_on = job is not None and not (job.complete or job.failed or job.deleting)
    if goes_on and run.status.phase is not Phase.COMPLETED and _succeeded(pods) is None:
        # The run was given up before its Job was: a Job must never outlive its run. (That of a runner which has
        # succeeded completes by itself a second later, and its log stays.)
        return Decision(StopJob("The run is over"))
    expires_at = run.expires_at
    if expires_at is None or run.deleting:
        return Decision()
    if now >= expires_at:
        return Decision(Expire(), needs_live=True)
    return Decision(look_again_at=expires_at)


def _succeeded(pods: tuple[Pod, ...]) -> Pod | None:
    return next((pod for pod in pods if pod.phase == "Succeeded"), None)


def _completed(observed: Observed, pod: Pod) -> Finish:
    attempts = _attempts(observed)
    if pod.outcome is None or pod.outcome.status != "succeeded":
        message = "The runner exited with code 0 and without an outcome; see its log"
        return Finish(Phase.FAILED, Reason.NO_OUTCOME, message, pod.started_at, pod.finished_at, attempts=attempts)
    records = pod.outcome.records_processed
    message = f"{records} records processed"
    return Finish(Phase.COMPLETED, Reason.COMPLETED, message, pod.started_at, pod.finished_at, records, attempts)


def _failed(observed: Observed, job: Job) -> Finish:
    reason, message = explain_failed_job(job, observed.pods)
    ends = [pod.finished_at for pod in observed.pods]
    # An attempt that is still being stopped (a timeout, a lost node) has no end yet: then it is now.
    known = [end for end in ends if end is not None] if reason is not Reason.TIMED_OUT else []
    completed_at = max(known) if known and len(known) == len(ends) else None
    return Finish(Phase.FAILED, reason, message, _started_at(observed), completed_at, attempts=_attempts(observed))


def _complete_without_pod(observed: Observed) -> Decision:
    # The pod carried the outcome and is gone (deleted by hand, node removed): look once more before giving it up.
    message = "The runner succeeded, but its pod was deleted before its outcome was read; the record count is not known"
    finish = Finish(Phase.COMPLETED, Reason.COMPLETED, message, _started_at(observed), attempts=_attempts(observed))
    return Decision(finish, needs_live=True)


def _cancel(observed: Observed, now: datetime) -> Decision:
    run, job = observed.run, observed.job
    why = "Cancelled by spec.cancel" if run.spec.cancel else "Cancelled: the PipelineRun is being deleted"
    if job is not None and not job.deleting:
        return Decision(StopJob(why), look_again_at=now + RECHECK)
    stopping = _stop_pods(observed, now)
    if stopping is not None:
        return stopping
    finish = Finish(Phase.CANCELLED, Reason.CANCELLED, why, _started_at(observed), attempts=_attempts(observed))
    return Decision(finish, needs_live=True)


def _stop_pods(observed: Observed, now: datetime) -> Decision | None:
    """What to do about what still runs of a run that must not; None once nothing does."""
    alive = [pod for pod in observed.pods if not pod.is_terminal]
    if observed.job is None and any(not pod.deleting for pod in alive):
        return Decision(StopPods(), look_again_at=now + RECHECK, needs_live=True)
    if observed.job is None and not alive:
        return None
    phase = observed.run.status.phase or Phase.VALIDATING
    report = _report(observed, phase, Reason.CANCELLING, "Waiting for the runner to stop")
    # Live, or an event that was lost would make it wait for ever.
    return Decision(report, look_again_at=now + RECHECK, needs_live=True)


def _without_job(observed: Observed, now: datetime) -> Decision:
    if observed.run.status.job_name is None:
        return Decision(Start())
    stopping = _stop_pods(observed, now)
    if stopping is not None:
        return stopping
    message = "The run's Job was deleted before the run had finished"
    finish = Finish(Phase.FAILED, Reason.JOB_DELETED, message, _started_at(observed), attempts=_attempts(observed))
    return Decision(finish, needs_live=True)


def _in_progress(observed: Observed, job: Job, now: datetime) -> Decision:
    current = max(observed.pods, key=lambda pod: pod.created_at, default=None)
    started_at = _started_at(observed)
    if current is not None and current.waiting is not None and current.waiting[0] in STUCK_WAITING:
        reason, detail = current.waiting
        deadline = (current.scheduled_at or current.created_at) + START_DEADLINE
        if now >= deadline:
            message = f"The runner could not start within {_seconds(START_DEADLINE)}s: {reason}: {detail}"
            # crash here or right after: the run is final, so the next pass deletes the Job that is left.
            finish = Finish(Phase.FAILED, Reason.START_FAILED, message, started_at, attempts=_attempts(observed))
            return Decision(finish, needs_live=True)
        report = _report(observed, Phase.VALIDATING, Reason.STARTING, f"Waiting: {reason}: {detail}")
        return Decision(report, look_again_at=deadline)
    if current is None and now >= job.created_at + POD_EXPECTED:
        waiting = f"No pod yet; see why with: kubectl describe job {job.name}"
        return Decision(_report(observed, Phase.VALIDATING, Reason.STARTING, waiting))
    if current is None:
        report = _report(observed, Phase.VALIDATING, Reason.STARTING, "Waiting for the runner to start")
        return Decision(report, look_again_at=job.created_at + POD_EXPECTED)
    if started_at is None:
        reason, detail = current.waiting or ("", "")
        waiting = f"Waiting: {reason}: {detail}" if reason == "Unschedulable" else "Waiting for the runner to start"
        return Decision(_report(observed, Phase.VALIDATING, Reason.STARTING, waiting))
    progress = _current_progress(observed, current)
    if progress is not None and progress.stage in {"transform", "load"}:
        return Decision(_report(observed, Phase.PROCESSING, Reason.RUNNING, f"Processing ({progress.stage})"))
    return Decision(_report(observed, Phase.RUNNING, Reason.RUNNING, "Running"))


def _report(observed: Observed, phase: Phase, reason: Reason, message: str) -> Report:
    before = observed.run.status.phase
    if before is not None and before.rank > phase.rank:
        phase = before  # a retry starts again from the beginning, but a phase never goes back
    progress = observed.progress
    return Report(
        phase,
        reason,
        message,
        _started_at(observed),
        max(observed.run.status.progress, progress.percent if progress else 0),
        progress.records if progress else None,
        _attempts(observed),
    )


def _current_progress(observed: Observed, pod: Pod | None) -> Progress | None:
    progress = observed.progress
    return progress if progress is not None and pod is not None and progress.pod_uid == pod.uid else None


def _started_at(observed: Observed) -> datetime | None:
    starts = [pod.started_at for pod in observed.pods if pod.started_at]
    known = observed.run.status.started_at
    return min([*starts, known] if known else starts, default=None)


def _attempts(observed: Observed) -> int:
    return max(len(observed.pods), observed.job.attempts if observed.job else 0)


def _seconds(delta: timedelta) -> int:
    return int(delta.total_seconds())
