"""Says why a run failed: one reason and one sentence that tells a person what to do."""

from collections.abc import Iterable

from pipeline_core.lifecycle.observed import Job, Pod
from pipeline_core.lifecycle.reasons import Reason

# Waiting reasons of a container that Kubernetes retries for ever, though a person has to act.
STUCK_WAITING = frozenset(
    {
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)
_AGAIN = "apply the run anew, or with a higher maxRetries"


def explain_failed_job(job: Job, pods: Iterable[Pod]) -> tuple[Reason, str]:
    """Reason and message for a Job that Kubernetes has given up.

    The runner's own words win over what Kubernetes says of the Job; a deadline wins over both, because it ends a
    runner that had nothing to say.
    """
    reason, message = job.failed or ("", "")
    if reason == "DeadlineExceeded":
        return Reason.TIMED_OUT, timed_out(job.timeout_seconds)
    newest = newest_failure(pods)
    if newest is not None:
        return explain_failed_pod(newest)
    return Reason.JOB_FAILED, f"The run's Job failed: {message or reason or 'no reason given'}"


def newest_failure(pods: Iterable[Pod]) -> Pod | None:
    """The attempt that failed last."""
    failed = (pod for pod in pods if pod.phase == "Failed")
    return max(failed, key=lambda pod: pod.finished_at or pod.created_at, default=None)


def explain_failed_pod(pod: Pod) -> tuple[Reason, str]:
    """Reason and message for one failed attempt."""
    if pod.outcome is not None and pod.outcome.status == "failed" and pod.outcome.error:
        return Reason.PROCESSOR_FAILED, pod.outcome.error
    if pod.exit_reason == "OOMKilled":
        return Reason.OUT_OF_MEMORY, (
            "The runner was killed for using more memory than its limit; raise it (runner.resources in the chart)"
        )
    if pod.reason == "Evicted":
        return Reason.EVICTED, f"The runner was evicted from its node, and no retry was left; {_why(pod)}"
    if pod.outcome is not None and pod.outcome.status == "terminated":
        return Reason.KILLED, f"The runner was told to stop before it had finished, and no retry was left; {_AGAIN}"
    if pod.exit_code is None:
        reason = pod.reason or "no reason given"
        return Reason.POD_LOST, f"The runner's pod ended without running to its end ({reason}); {_why(pod)}"
    if pod.exit_code in {137, 143}:
        code = pod.exit_code
        return Reason.KILLED, f"The runner was killed (exit code {code}) before it could report an outcome; {_why(pod)}"
    log = f"see its log: kubectl logs {pod.name}"
    return Reason.NO_OUTCOME, f"The runner exited with code {pod.exit_code} and without an outcome; {log}"


def _why(pod: Pod) -> str:
    return f"see why with: kubectl describe pod {pod.name}"


def timed_out(seconds: int) -> str:
    """The specification's sentence for a timeout."""
    return f"Pipeline execution timed out after {seconds}s"
