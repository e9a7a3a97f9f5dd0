"""Decides about a run whose runner hasn't started: what it waits for, and when the wait is given up.

Kubernetes waits for ever for an image, a volume, room on a node or a pod that something refuses. Each such wait is told
on the object, in Kubernetes' own words, and has a deadline.
"""

from datetime import datetime, timedelta

from pipeline_core.lifecycle.actions import RECHECK, Deadlines, Decision, Finish, report, seconds
from pipeline_core.lifecycle.failures import STUCK_WAITING
from pipeline_core.lifecycle.observed import Job, Observed, Pod
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason

# A pod is made, and its container started, within seconds; after this it is worth asking why not.
SLOW = timedelta(seconds=15)


def decide_waiting(observed: Observed, job: Job, now: datetime, deadlines: Deadlines) -> Decision | None:
    """What to do while the newest attempt's container hasn't started; None once it has."""
    pod = observed.newest_pod
    if job.suspended:
        return _suspended(observed, job, now, deadlines.start)
    if pod is None:
        return _without_pod(observed, job, now, deadlines.schedule)
    if pod.started_at is not None or pod.is_terminal:
        return None
    if pod.waiting is not None and pod.waiting[0] == "Unschedulable":
        return _unschedulable(observed, pod, pod.waiting[1], now, deadlines.schedule)
    return _on_its_node(observed, pod, now, deadlines.start)


def _suspended(observed: Observed, job: Job, now: datetime, allowed: timedelta) -> Decision:
    deadline = (job.turned_at or now) + allowed
    if job.turned_at is not None and now >= deadline:
        message = f"The run's Job was suspended and not resumed within {seconds(allowed)}s; apply the run anew"
        return _give_up(observed, Reason.JOB_SUSPENDED, message)
    resume = f"""kubectl patch job {job.name} --type=merge --patch='{{"spec":{{"suspend":false}}}}'"""
    message = f"Waiting: somebody has suspended the run's Job; resume it with: {resume}"
    return Decision(report(observed, Phase.VALIDATING, Reason.JOB_SUSPENDED, message), look_again_at=deadline)


def _without_pod(observed: Observed, job: Job, now: datetime, allowed: timedelta) -> Decision:
    since = max(job.created_at, job.turned_at or job.created_at)
    if now < since + SLOW:
        return _starting(observed, since)
    if observed.was_attempted:
        return _between_attempts(observed, job, now)
    why = observed.words or f"see why with: kubectl describe job {job.name}"
    if now >= since + allowed:
        message = f"The runner's pod could not be created within {seconds(allowed)}s: {why}"
        return _give_up(observed, Reason.START_FAILED, message, explain=job.uid)
    waiting = report(observed, Phase.VALIDATING, Reason.STARTING, f"Waiting for a pod: {why}")
    return Decision(waiting, look_again_at=since + allowed, explain=job.uid)


def _between_attempts(observed: Observed, job: Job, now: datetime) -> Decision:
    """Its pod is gone (a drain, an eviction), and Kubernetes makes another in a while; the Job's time bounds it."""
    message = "Waiting for the Job to make the next attempt's pod" + (f": {observed.words}" if observed.words else "")
    waiting = report(observed, Phase.VALIDATING, Reason.RETRYING, message)
    return Decision(waiting, look_again_at=now + RECHECK, explain=job.uid)


def _unschedulable(observed: Observed, pod: Pod, detail: str, now: datetime, allowed: timedelta) -> Decision:
    if now < pod.created_at + SLOW:
        # In a burst most pods wait a moment for room: that isn't worth a write each.
        return _starting(observed, pod.created_at)
    deadline = pod.created_at + allowed
    if now >= deadline:
        message = f"No node took the runner within {seconds(allowed)}s: {detail}"
        return _give_up(observed, Reason.UNSCHEDULABLE, message)
    waiting = report(observed, Phase.VALIDATING, Reason.UNSCHEDULABLE, f"Waiting: Unschedulable: {detail}")
    return Decision(waiting, look_again_at=deadline)


def _on_its_node(observed: Observed, pod: Pod, now: datetime, allowed: timedelta) -> Decision:
    """The pod has a node, or is about to: images are pulled, volumes mounted, configs read."""
    since = pod.scheduled_at or pod.created_at
    reason, detail = pod.waiting or ("", "")
    stuck = reason in STUCK_WAITING
    if not stuck and now < since + SLOW:
        return _starting(observed, since)
    # What keeps a container from being created (a volume, a sandbox) is told by events alone.
    why = f"{reason}: {detail}" if stuck else observed.words or f"see why with: kubectl describe pod {pod.name}"
    explain = None if stuck else pod.uid
    if now >= since + allowed:
        message = f"The runner could not start within {seconds(allowed)}s: {why}"
        return _give_up(observed, Reason.START_FAILED, message, explain=explain)
    waiting = report(observed, Phase.VALIDATING, Reason.STARTING, f"Waiting: {why}")
    return Decision(waiting, look_again_at=since + allowed, explain=explain)


def _starting(observed: Observed, since: datetime) -> Decision:
    starting = report(observed, Phase.VALIDATING, Reason.STARTING, "Waiting for the runner to start", on_its_way=True)
    return Decision(starting, look_again_at=since + SLOW)


def _give_up(observed: Observed, reason: Reason, message: str, explain: str | None = None) -> Decision:
    # crash here or right after: the run is final, so the next pass deletes the Job that is left.
    finish = Finish(Phase.FAILED, reason, message, observed.started_at, attempts=observed.attempts)
    return Decision(finish, needs_live=True, explain=explain)
