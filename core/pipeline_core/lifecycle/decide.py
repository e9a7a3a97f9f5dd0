"""Decides what to do next for one run: pure, total, and the same answer for the same facts.

Every answer is safe to carry out twice. An answer that rests on something *not* being there is unsafe on the watch's
memory alone: `Decision.needs_live` makes the caller look again at the API server and ask once more.
"""

from datetime import datetime, timedelta

from pipeline_core.lifecycle.actions import (
    RECHECK,
    Deadlines,
    Decision,
    Expire,
    Finish,
    Release,
    Start,
    StopJob,
    StopPods,
    report,
)
from pipeline_core.lifecycle.failures import explain_failed_job, explain_failed_pod
from pipeline_core.lifecycle.observed import Job, Observed, Pod, Progress, Published
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.lifecycle.waiting import decide_waiting
from pipeline_core.outcome import PERMANENT

# A pod that should have stopped by now and hasn't: its node doesn't answer.
_NODE_SILENT = timedelta(seconds=30)
# A container's start, as the kubelet tells it and as the runner does, differs by less; another attempt's by more.
_ANOTHER = timedelta(seconds=5)
_DEFAULT_DEADLINES = Deadlines()


def decide(observed: Observed, now: datetime, deadlines: Deadlines = _DEFAULT_DEADLINES) -> Decision:
    """What to do next for the run, given all that is observed at `now`."""
    run, job = observed.run, observed.job
    if run.is_over:
        return _after_the_end(observed, now)
    succeeded = _succeeded(observed.pods)
    if succeeded is not None:
        return Decision(_completed(observed, succeeded))
    published = _published(observed)
    if published is not None:
        return Decision(_completed_early(observed, published))
    if job is not None and job.failed is not None:
        # Live, as the pod's watch may be behind the Job's, and the pod has the runner's own words.
        return Decision(_failed(observed, job), needs_live=True)
    if job is not None and job.complete:
        return _complete_without_pod(observed)
    if run.spec.cancel or run.deleting:
        return _cancel(observed, now)
    if job is None:
        return _without_job(observed, now)
    return _in_progress(observed, job, now, deadlines)


def _after_the_end(observed: Observed, now: datetime) -> Decision:
    run, job = observed.run, observed.job
    goes_on = job is not None and job.goes_on
    if goes_on and _succeeded(observed.pods) is None and not _completes_by_itself(observed):
        # The run was given up before its Job was: a Job must never outlive its run.
        return Decision(StopJob("The run is over"))
    if observed.holds_slot and observed.is_at_rest:
        # Live unless one has succeeded: then the Job has made no other, which the watch may not have shown yet.
        return Decision(Release(), needs_live=_succeeded(observed.pods) is None)
    expires_at = run.expires_at
    if expires_at is None or run.deleting:
        return Decision()
    if now >= expires_at:
        return Decision(Expire(), needs_live=True)
    return Decision(look_again_at=expires_at)


def _completes_by_itself(observed: Observed) -> bool:
    """Whether the runner of a completed run needs only to be left alone: its Job ends a second later, its log stays.

    Not if the attempt that had published failed on its last steps, or went with its node, which the Job doesn't count:
    it would try again what is done.
    """
    if observed.run.status.phase is not Phase.COMPLETED or observed.attempts > max(observed.run.status.attempts, 1):
        return False
    newest, published = observed.newest_pod, observed.published
    if newest is None:
        return True
    status = observed.run.status
    if status.completed_at is not None and newest.created_at > status.completed_at:
        return False
    # The end may have been written late, by a process that had stood still: the one attempt it knew began earlier.
    known_to_begin = status.started_at if status.attempts <= 1 else None
    if known_to_begin and newest.started_at and newest.started_at > known_to_begin + _ANOTHER:
        return False
    return not newest.is_terminal and (published is None or published.pod_uid == newest.uid)


def _succeeded(pods: tuple[Pod, ...]) -> Pod | None:
    return next((pod for pod in pods if pod.phase == "Succeeded"), None)


def _completed(observed: Observed, pod: Pod) -> Finish:
    if pod.outcome is None or pod.outcome.status != "succeeded":
        message = f"The runner exited with code 0 and without an outcome; see its log: kubectl logs {pod.name}"
        attempts = observed.attempts
        return Finish(Phase.FAILED, Reason.NO_OUTCOME, message, pod.started_at, pod.finished_at, attempts=attempts)
    return _success(observed, pod.outcome.records_processed, pod.started_at, pod.finished_at)


def _published(observed: Observed) -> Published | None:
    """The runner's own word, believed from a pod of the run that hasn't ended: after that, its exit code counts."""
    published = observed.published
    alive = any(pod.uid == published.pod_uid and not pod.is_terminal for pod in observed.pods) if published else False
    failed = observed.job is not None and observed.job.failed is not None
    return published if alive and not failed else None


def _completed_early(observed: Observed, published: Published) -> Finish:
    # The kubelet may not have told yet that the container runs at all.
    started_at = observed.started_at or published.began_at
    return _success(observed, published.records, started_at, published.at)


def _success(observed: Observed, records: int, started_at: datetime | None, completed_at: datetime | None) -> Finish:
    message, attempts = f"{records} records processed", observed.attempts
    return Finish(Phase.COMPLETED, Reason.COMPLETED, message, started_at, completed_at, records, attempts)


def _failed(observed: Observed, job: Job) -> Finish:
    reason, message = explain_failed_job(job, observed.pods)
    ends = [pod.finished_at for pod in observed.pods]
    # An attempt that is still being stopped (a timeout, a lost node) has no end yet: then it is now.
    known = [end for end in ends if end is not None] if reason is not Reason.TIMED_OUT else []
    completed_at = max(known) if known and len(known) == len(ends) else None
    return Finish(Phase.FAILED, reason, message, observed.started_at, completed_at, attempts=observed.attempts)


def _complete_without_pod(observed: Observed) -> Decision:
    # The pod carried the outcome and is gone (deleted by hand, node removed): look once more before giving it up.
    message = "The runner succeeded, but its pod was deleted before its outcome was read; the record count is not known"
    finish = Finish(Phase.COMPLETED, Reason.COMPLETED, message, observed.started_at, attempts=observed.attempts)
    return Decision(finish, needs_live=True)


def _cancel(observed: Observed, now: datetime) -> Decision:
    run, job = observed.run, observed.job
    why = "Cancelled by spec.cancel" if run.spec.cancel else "Cancelled: the PipelineRun is being deleted"
    if job is not None and not job.deleting:
        return Decision(StopJob(why), look_again_at=now + RECHECK)
    stopping = _stop_pods(observed, now)
    if stopping is not None:
        return stopping
    finish = Finish(Phase.CANCELLED, Reason.CANCELLED, why, observed.started_at, attempts=observed.attempts)
    return Decision(finish, needs_live=True)


def _stop_pods(observed: Observed, now: datetime) -> Decision | None:
    """What to do about what still runs of a run that must not; None once nothing does."""
    alive = [pod for pod in observed.pods if not pod.is_terminal]
    if observed.job is None and any(not pod.deleting for pod in alive):
        return Decision(StopPods(), look_again_at=now + RECHECK, needs_live=True)
    if observed.job is None and not alive:
        return None
    phase = observed.run.status.phase or Phase.VALIDATING
    stopping = report(observed, phase, Reason.CANCELLING, _stopping(observed, now))
    # Live, or an event that was lost would make it wait for ever.
    return Decision(stopping, look_again_at=now + RECHECK, needs_live=True)


def _without_job(observed: Observed, now: datetime) -> Decision:
    # First, also where the object tells of no Job: the process may have died before it could tell, and that Job have
    # been deleted since. A second pod must not start while the first one lives.
    stopping = _stop_pods(observed, now)
    if stopping is not None:
        return stopping
    if observed.run.status.job_name is None:
        return Decision(Start())
    message = "The run's Job was deleted before the run had finished; apply the run anew"
    finish = Finish(Phase.FAILED, Reason.JOB_DELETED, message, observed.started_at, attempts=observed.attempts)
    return Decision(finish, needs_live=True)


def _in_progress(observed: Observed, job: Job, now: datetime, deadlines: Deadlines) -> Decision:
    current = observed.newest_pod
    waiting = decide_waiting(observed, job, now, deadlines)
    if waiting is not None:
        return waiting
    if current is not None and current.phase == "Failed" and current.exit_code not in PERMANENT:
        _, words = explain_failed_pod(current)
        message = f"Attempt {observed.attempts} ended ({words}); the Job decides whether to try again"
        return Decision(report(observed, Phase.VALIDATING, Reason.RETRYING, message))
    if current is not None and current.deleting:
        stopping = report(observed, Phase.VALIDATING, Reason.RETRYING, _stopping(observed, now))
        return Decision(stopping, look_again_at=now + RECHECK, needs_live=True)
    progress = _current_progress(observed, current)
    if progress is not None and progress.is_processing:
        return Decision(report(observed, Phase.PROCESSING, Reason.RUNNING, "Processing"))
    return Decision(report(observed, Phase.RUNNING, Reason.RUNNING, "Running"))


def _stopping(observed: Observed, now: datetime) -> str:
    """What to say while pods are being stopped; names the node that doesn't answer, if that is why it takes long."""
    for pod in observed.pods:
        if not pod.is_terminal and pod.gone_by is not None and now >= pod.gone_by + _NODE_SILENT:
            return (
                f"Waiting for pod {pod.name} to stop: its node {pod.node or '(none)'} doesn't answer. It ends when the "
                f"node is back or removed (kubectl delete node), or by: kubectl delete pod {pod.name} --force"
            )
    return "Waiting for the runner to stop"


def _current_progress(observed: Observed, pod: Pod | None) -> Progress | None:
    progress = observed.progress
    return progress if progress is not None and pod is not None and progress.pod_uid == pod.uid else None
