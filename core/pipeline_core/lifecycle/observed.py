"""What is known of one run at one moment: its object, its Job, its pods and what the runner reported.

Plain values without any client of Kubernetes, so that the decision can be tested by table and simulated.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome

DEFAULT_TTL = timedelta(days=7)
DEFAULT_QUEUE_TIMEOUT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What was asked for; None where the manifest leaves a field out. Times in seconds."""

    org: str
    provider: str
    domain: str
    pipeline: str
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    # RFC 3339 as the manifest has it; it is parsed where it can be refused.
    logical_time: str | None = None
    schedule: str | None = None
    schedule_uid: str | None = None
    created_by: str | None = None
    run_id: str | None = None
    timeout_seconds: int | None = None
    max_retries: int | None = None
    ttl_seconds: int | None = None
    cancel: bool = False
    priority: int = 0
    queues: bool = False
    queue_timeout_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What the object's status says by now. `admitted_at` is since when its condition `Admitted` is True.

    `waits_for_quota` is whether that condition says that it waits for a slot.
    """

    phase: Phase | None = None
    run_id: str | None = None
    job_name: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    progress: int = 0
    attempts: int = 0
    admitted_at: datetime | None = None
    waits_for_quota: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A PipelineRun. `request_id` and `traceparent` are of the request that asked for it, None where it isn't known."""

    namespace: str
    name: str
    uid: str
    run_id: str
    resource_version: str
    generation: int
    created_at: datetime
    spec: RunSpec
    status: RunStatus = RunStatus()
    deleting: bool = False
    request_id: str | None = None
    traceparent: str | None = None

    @property
    def traced(self) -> dict[str, str]:
        """What its log lines name the request by that asked for it."""
        known = {"request_id": self.request_id, "traceparent": self.traceparent}
        return {name: value for name, value in known.items() if value is not None}

    @property
    def is_over(self) -> bool:
        """Whether its status tells its end."""
        return self.status.phase is not None and self.status.phase.is_final

    @property
    def was_admitted(self) -> bool:
        """Whether its status tells that it had got a slot."""
        status = self.status
        return status.admitted_at is not None or (status.phase is not None and status.phase.rank > Phase.PENDING.rank)

    @property
    def waits_until(self) -> datetime:
        """When it is given up where it waits for a slot of its organization."""
        seconds = self.spec.queue_timeout_seconds
        return self.created_at + (DEFAULT_QUEUE_TIMEOUT if seconds is None else timedelta(seconds=seconds))

    @property
    def expires_at(self) -> datetime | None:
        """When a finished run's object is to be deleted; None while it isn't finished."""
        if self.status.completed_at is None:
            return None
        ttl = DEFAULT_TTL if self.spec.ttl_seconds is None else timedelta(seconds=self.spec.ttl_seconds)
        return self.status.completed_at + ttl


@dataclass(frozen=True, slots=True)
class Job:
    """The run's Job. `failed` is the reason and message of its Failed (or FailureTarget) condition.

    `owner` is the namespace and name of the run that it says it is owned by, None without one.
    `turned_at` is when it was suspended or resumed last, None if it never was.
    """

    name: str
    uid: str
    owner: tuple[str, str] | None
    created_at: datetime
    timeout_seconds: int
    complete: bool = False
    failed: tuple[str, str] | None = None
    attempts: int = 0
    deleting: bool = False
    suspended: bool = False
    turned_at: datetime | None = None
    version: int = 0

    @property
    def goes_on(self) -> bool:
        """Whether it would still run pods, or make another, if it were left alone."""
        return not (self.complete or self.failed or self.deleting)


@dataclass(frozen=True, slots=True)
class Pod:
    """One attempt. Times and exit code are the runner container's; `waiting` is a reason and message.

    `gone_by` is when a pod that is being deleted should have stopped. `version` is the object's resourceVersion, which
    tells the newer of two views, here as in a Job.
    """

    name: str
    uid: str
    created_at: datetime
    phase: str
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    exit_reason: str | None = None
    outcome: Outcome | None = None
    waiting: tuple[str, str] | None = None
    reason: str | None = None
    scheduled_at: datetime | None = None
    deleting: bool = False
    gone_by: datetime | None = None
    node: str | None = None
    version: int = 0

    @property
    def is_terminal(self) -> bool:
        """Whether its containers have stopped for good."""
        return self.phase in {"Succeeded", "Failed"}

    @property
    def says_it_failed(self) -> bool:
        """Whether its runner's last word is that it published nothing; one that was stopped or killed can't say so."""
        return self.phase == "Failed" and self.outcome is not None and self.outcome.status == "failed"


def is_at_rest(job: Job | None, pods: Collection[Pod]) -> bool:
    """Whether none of these pods is alive, and their Job, if it is there, makes no other."""
    done = any(pod.phase == "Succeeded" for pod in pods)
    return all(pod.is_terminal for pod in pods) and (done or job is None or not job.goes_on)


@dataclass(frozen=True, slots=True)
class Progress:
    """The newest progress message of one pod: stage, percent and records so far."""

    pod_uid: str
    stage: str
    percent: int
    records: int
    at: datetime

    @property
    def is_processing(self) -> bool:
        """Whether the run counts as Processing: it has extracted."""
        return self.stage in {"transform", "load"}


@dataclass(frozen=True, slots=True)
class Published:
    """A runner's word that its rows are published, ahead of its pod's end: `seconds` it has run until then."""

    pod_uid: str
    records: int
    seconds: float
    at: datetime

    @property
    def began_at(self) -> datetime:
        """When the runner's process began, by its own word."""
        return self.at - timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True)
class Observed:
    """All of it. `words` is the newest warning of Kubernetes about what the run waits for, where it was looked up.

    `pods_went` is whether pods of it are known to have come and gone. `holds_slot` is whether the run is known to hold
    a slot of its organization.
    """

    run: Run
    job: Job | None = None
    pods: tuple[Pod, ...] = ()
    progress: Progress | None = None
    published: Published | None = None
    words: str | None = None
    pods_went: bool = False
    holds_slot: bool = False

    @property
    def is_at_rest(self) -> bool:
        """Whether no pod of it is alive and its Job, if there is one, makes no other: its slot is free."""
        return is_at_rest(self.job, self.pods)

    @property
    def newest_pod(self) -> Pod | None:
        """The newest attempt."""
        return max(self.pods, key=lambda pod: pod.created_at, default=None)

    @property
    def started_at(self) -> datetime | None:
        """When the first attempt's container started."""
        starts = [pod.started_at for pod in self.pods if pod.started_at]
        known = self.run.status.started_at
        return min([*starts, known] if known else starts, default=None)

    @property
    def attempts(self) -> int:
        """How many attempts there were, as far as is known: a Job doesn't count those that a drain has ended."""
        return max(len(self.pods), self.job.attempts if self.job else 0, self.run.status.attempts)

    @property
    def was_attempted(self) -> bool:
        """Whether a pod of it has ever been made, as far as is known."""
        return self.attempts > 0 or self.pods_went or self.run.status.started_at is not None
