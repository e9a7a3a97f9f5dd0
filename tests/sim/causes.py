"""What must have happened for a run to fail for a reason."""

from typing import TYPE_CHECKING

from pipeline_core.lifecycle.reasons import Reason
from sim.truth import RunTruth

if TYPE_CHECKING:
    from sim.world import World

_OF_A_POD = {
    Reason.PROCESSOR_FAILED,
    Reason.OUT_OF_MEMORY,
    Reason.KILLED,
    Reason.EVICTED,
    Reason.POD_LOST,
    Reason.NO_OUTCOME,
}
# As `waiting` words it: no pod ever came. After a pod it is the Job that decides whether another comes, and when.
_NO_POD = "could not be created within"
# The operator gives these up itself, while Kubernetes would wait for ever.
_GIVEN_UP = {Reason.START_FAILED, Reason.UNSCHEDULABLE, Reason.JOB_SUSPENDED}


def missing(world: "World", run: RunTruth, reason: str, message: str, pods_seen: float) -> list[str]:
    """What speaks against this reason; `pods_seen` is when the operator last looked at the run's pods."""
    jobs, pods = run.jobs.values(), run.pods.values()
    wrong: list[str] = []
    if reason == Reason.REJECTED:
        wrong += world.tenants.missing(run, message) if run.valid else []
    elif not run.valid:
        wrong.append("it couldn't be admitted")
    elif reason == Reason.TIMED_OUT:
        wrong += [] if any(job.failed == "DeadlineExceeded" for job in jobs) else ["its Job had met no deadline"]
    elif reason == Reason.JOB_FAILED:
        wrong += [] if any(job.failed for job in jobs) else ["its Job hadn't failed"]
        told = [pod for pod in pods if pod.phase == "Failed" and pod.gone is None and (pod.ended or 0.0) < pods_seen]
        wrong += ["its pod has the reason"] if told else []
    elif reason in _OF_A_POD:
        silent = any(pod.phase == "Succeeded" and not pod.good for pod in pods)
        wrong += [] if silent or any(pod.phase == "Failed" for pod in pods) else ["no attempt of it had failed"]
        wrong += [] if silent or any(job.failed for job in jobs) else ["its Job hadn't failed"]
    elif reason == Reason.JOB_DELETED:
        wrong += [] if all(job.gone is not None for job in jobs) else ["its Job is there"]
        alive = [pod for pod in pods if pod.ended is None and pod.gone is None and pod.made < pods_seen]
        wrong += ["a pod of it lives"] if alive else []
    elif reason in _GIVEN_UP:
        works = [pod for pod in pods if pod.started is not None and pod.ended is None and pod.gone is None]
        if reason == Reason.JOB_SUSPENDED:  # with which its pods are stopped
            works = [pod for pod in works if not pod.stopping]
        wrong += ["its runner works"] if any(pod.started < pods_seen for pod in works if pod.started) else []
        had_one = _NO_POD in message and any(pod.made < pods_seen for pod in pods)
        wrong += ["a pod of it had been made"] if had_one else []
    elif reason == Reason.JOB_REFUSED:
        refused = world.chaos.job_was_refused(run)
        wrong += [] if refused else ["nothing had refused its Job"]
    else:
        wrong.append("no such reason is known")
    return wrong
