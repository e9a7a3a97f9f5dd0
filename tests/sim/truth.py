"""What has really happened in the world, noted where it happened; the oracle judges by this, not by what was said."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pipeline_core import identifiers
from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from sim.api_server import Change, Key

if TYPE_CHECKING:
    from sim.world import World


@dataclass(slots=True)
class RunTruth:
    """One PipelineRun. Times in seconds since the world began; None while it hasn't happened."""

    uid: str
    key: Key
    run_id: str
    created: float
    # Whether it can be admitted, as far as its organization's plan allows.
    valid: bool
    org: str
    queues: bool
    cancelled: float | None = None
    removed: float | None = None
    jobs: dict[str, "JobTruth"] = field(default_factory=dict)
    pods: dict[str, "PodTruth"] = field(default_factory=dict)

    @property
    def given_up(self) -> bool:
        """Whether somebody has cancelled or deleted it."""
        return self.cancelled is not None or self.removed is not None


@dataclass(slots=True)
class JobTruth:
    """A Job of a run. `failed` is the reason of its FailureTarget."""

    made: float
    failed: str | None = None
    complete: bool = False
    gone: float | None = None


@dataclass(slots=True)
class PodTruth:
    """A pod of a run. `ended` is when its phase became terminal; `good` whether it ended well and said so.

    `stopping` is whether it has been told to stop, which one on a lost node doesn't hear.
    """

    made: float
    started: float | None = None
    ended: float | None = None
    phase: str = "Pending"
    good: bool = False
    stopping: bool = False
    gone: float | None = None


class Publication(NamedTuple):
    """The commit marker of a run."""

    pod_uid: str
    records: int
    at: float


class Truth:
    """All runs that ever were, by UID, and what stands in the target, by run id."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.runs: dict[str, RunTruth] = {}
        self.published: dict[str, Publication] = {}
        self._uids: dict[Key, str] = {}
        world.server.listeners.append(self._changed)

    def publish(self, run_id: str, pod_uid: str, records: int) -> int:
        """A runner's publish: the first one counts, whoever comes later finds its marker. Returns its records."""
        if run_id not in self.published:
            self.published[run_id] = Publication(pod_uid, records, self._world.loop.time())
            self._world.note("runner", self.uid_of_record(run_id), f"published {records} records (pod {pod_uid[:8]})")
        return self.published[run_id].records

    def uid_of(self, key: Key, body: Json) -> str:
        """Whose line this is in the trace."""
        if uid := run_uid_of(body) or (body.get("involvedObject") or {}).get("uid", ""):
            return uid
        return self._uids.get((key[0], key[1], key[2] or body.get("metadata", {}).get("name", "")), "")

    def uid_of_record(self, run_id: str) -> str:
        """The run whose record this is; the first with this id while there is none."""
        row = self._world.rows.get(run_id)
        if row is not None:
            return str(row["object_uid"])
        return next((run.uid for run in self.runs.values() if run.run_id == run_id), "")

    def _changed(self, change: Change) -> None:
        uid = change.body["metadata"]["uid"] if change.key[0] == names.RUNS else run_uid_of(change.body)
        if not uid:
            return
        self._uids[change.key] = uid
        {names.RUNS: self._run, "jobs": self._job, "pods": self._pod}[change.key[0]](uid, change)

    def _run(self, uid: str, change: Change) -> None:
        now, spec = self._world.loop.time(), change.body["spec"]
        if change.kind == "ADDED":
            run_id = spec.get("runId") or identifiers.run_id_from_uid(uid)
            org, queues = spec["org"], spec.get("quotaPolicy") == "Queue"
            valid = spec["provider"] == "gcp" and org in self._world.tenants.history
            self.runs[uid] = RunTruth(uid, change.key, run_id, now, valid, org, queues)
            self._uids["jobs", change.key[1], identifiers.object_name(run_id)] = uid
        run = self.runs[uid]
        if spec.get("cancel") and run.cancelled is None:
            run.cancelled = now
        if run.removed is None and (change.kind == "DELETED" or "deletionTimestamp" in change.body["metadata"]):
            run.removed = now
            self._world.note("cluster", uid, f"pipelinerun {change.key[2]} removed")

    def _job(self, uid: str, change: Change) -> None:
        now = self._world.loop.time()
        job = self.runs[uid].jobs.setdefault(change.body["metadata"]["uid"], JobTruth(now))
        for condition in change.body["status"].get("conditions") or ():
            if condition["type"] == "FailureTarget" and job.failed is None:
                job.failed = condition["reason"]
                self._world.note("cluster", uid, f"job fails: {job.failed}")
            if condition["type"] == "Complete":
                job.complete = True
        if change.kind == "DELETED":
            job.gone = now
            self._world.note("cluster", uid, f"job {change.key[2]} removed")

    def _pod(self, uid: str, change: Change) -> None:
        now, status = self._world.loop.time(), change.body["status"]
        pod = self.runs[uid].pods.setdefault(change.body["metadata"]["uid"], PodTruth(now))
        before = pod.phase
        pod.phase = status.get("phase", "Pending")
        ends = [container["state"].get("terminated") or {} for container in status.get("containerStatuses") or ()]
        if pod.started is None and pod.phase != "Pending":
            pod.started = now
        if pod.ended is None and pod.phase in {"Succeeded", "Failed"}:
            pod.ended = now
            pod.good = pod.phase == "Succeeded" and any(end.get("message") for end in ends)
        pod.stopping = "deletionTimestamp" in change.body["metadata"]
        if change.kind == "DELETED":
            pod.gone = now
        if change.kind != "MODIFIED" or before != pod.phase:
            code = "".join(f" code {end['exitCode']}" for end in ends if end)
            what = {"ADDED": "made", "DELETED": "removed"}.get(change.kind, pod.phase)
            self._world.note("cluster", uid, f"pod {change.key[2]} {what}{code}")


def run_uid_of(body: Json) -> str:
    """The run's UID that an object made for it carries."""
    return str((body.get("metadata", {}).get("annotations") or {}).get(names.ANNOTATION_RUN_UID, ""))
