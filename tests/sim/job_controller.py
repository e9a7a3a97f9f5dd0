"""The Job controller: pods, retries, podFailurePolicy, deadlines, suspension, and the second until a Job is Complete.

A model of what the operator relies on: one pod at a time, podReplacementPolicy Failed, and FailureTarget before Failed.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline_core.kube.api import Json
from sim.api_server import Change, Key, is_terminal, key_of, owner_uid
from sim.virtual_time import stamp

if TYPE_CHECKING:
    from sim.world import World

_BACKOFF_FIRST = 10.0


@dataclass(slots=True)
class _Tally:
    """What the controller has counted of one Job; it survives the pods (by their tracking finalizer)."""

    counted: set[str] = field(default_factory=set)
    succeeded: int = 0
    failed: int = 0
    # podFailurePolicy's FailJob has matched.
    final_code: int | None = None
    started: float | None = None
    pods_made: int = 0
    next_pod_at: float = 0.0


class JobController:
    """Looks at a Job a moment after it or one of its pods has changed."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._tallies: dict[str, _Tally] = {}
        self._waiting: set[Key] = set()
        world.server.listeners.append(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key[0] == "jobs" and change.kind != "DELETED":
            self._look(change.key)
        elif change.key[0] == "pods" and (owner := owner_uid(change.body)):
            if is_terminal(change.body) or change.kind == "DELETED":
                self._count(owner, change.body)
            if job := self._world.server.find("jobs", owner):
                self._look(key_of("jobs", job), 1.0 if is_terminal(change.body) else None)

    def _look(self, key: Key, after: float | None = None) -> None:
        if key not in self._waiting:
            self._waiting.add(key)
            delay = self._world.random.uniform(0.02, 0.2) if after is None else after
            self._world.later(delay, self._sync, key)

    def _count(self, owner: str, pod: Json) -> None:
        tally = self._tallies.setdefault(owner, _Tally())
        uid = pod["metadata"]["uid"]
        if uid in tally.counted:
            return
        tally.counted.add(uid)
        status = pod["status"]
        if status.get("phase") == "Succeeded":
            tally.succeeded += 1
            return
        if any(c["type"] == "DisruptionTarget" for c in status.get("conditions") or ()):
            # Ignore: it doesn't count, but Kubernetes waits as long as after any failure.
            tally.next_pod_at = self._world.loop.time() + _BACKOFF_FIRST
            return
        code = _exit_code(status)
        if code in {65, 70, 78}:
            tally.final_code = code
        tally.failed += 1
        backoff = min(_BACKOFF_FIRST * 2 ** (tally.failed - 1), 360.0)
        tally.next_pod_at = self._world.loop.time() + backoff

    def _sync(self, key: Key) -> None:
        self._waiting.discard(key)
        server, now = self._world.server, self._world.loop.time()
        job = server.objects.get(key)
        if job is None or _condition(job, "Complete") or _condition(job, "Failed"):
            return
        tally = self._tallies.setdefault(job["metadata"]["uid"], _Tally())
        alive = [pod for pod in self._pods(job) if not is_terminal(pod)]
        if job["spec"].get("suspend") and not tally.succeeded:
            tally.started = None
            self._stop(alive)
            self._write(job, tally, alive, ("Suspended", "JobSuspended", "Job suspended"))
            return
        if tally.started is None:
            tally.started = now
            if _condition(job, "Suspended"):
                self._write(job, tally, alive, ("Suspended", "JobResumed", "Job resumed"))
                return
        deadline = tally.started + job["spec"]["activeDeadlineSeconds"]
        verdict = self._verdict(job, tally, deadline)
        if verdict is not None:
            self._stop(alive)
            # Failed itself waits until every pod is gone or terminal.
            conditions = [("FailureTarget", *verdict)] + ([] if alive else [("Failed", *verdict)])
            self._write(job, tally, alive, *conditions)
        elif tally.succeeded:
            self._write(job, tally, alive, ("SuccessCriteriaMet", "CompletionsReached", ""), ("Complete", "", ""))
        else:
            if not alive:
                self._make_pod(job, tally)
                alive = [pod for pod in self._pods(job) if not is_terminal(pod)]
            self._write(job, tally, alive)
            self._world.later(max(0.0, deadline - now), self._sync, key)

    def _verdict(self, job: Json, tally: _Tally, deadline: float) -> tuple[str, str] | None:
        known = _condition(job, "FailureTarget")
        if known is not None:
            return known["reason"], known["message"]
        if tally.final_code is not None:
            return "PodFailurePolicy", f"Container runner failed with exit code {tally.final_code}"
        if tally.failed > job["spec"]["backoffLimit"]:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        if not tally.succeeded and self._world.loop.time() >= deadline:
            return "DeadlineExceeded", "Job was active longer than specified deadline"
        return None

    def _make_pod(self, job: Json, tally: _Tally) -> None:
        wait = tally.next_pod_at - self._world.loop.time()
        key = key_of("jobs", job)
        if wait > 0:
            self._world.later(wait, self._sync, key)
            return
        if self._world.chaos.refuses_pods:
            self._world.later(5.0, self._sync, key)
            return
        tally.pods_made += 1
        template, metadata = job["spec"]["template"], job["metadata"]
        owner = {"kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        name = f"{metadata['name']}-{tally.pods_made}{metadata['uid'][:4]}"
        body = {
            "metadata": {**template["metadata"], "name": name, "ownerReferences": [owner]},
            "spec": template["spec"],
            "status": {"phase": "Pending"},
        }
        self._world.server.create("pods", metadata["namespace"], body)

    def _pods(self, job: Json) -> list[Json]:
        uid = job["metadata"]["uid"]
        return [pod for pod in self._world.server.of("pods") if owner_uid(pod) == uid]

    def _stop(self, pods: list[Json]) -> None:
        for pod in pods:
            if "deletionTimestamp" not in pod["metadata"]:
                self._world.server.delete(key_of("pods", pod))

    def _write(self, job: Json, tally: _Tally, alive: list[Json], *new: tuple[str, str, str]) -> None:
        conditions = {c["type"]: c for c in job["status"].get("conditions") or ()}
        for name, reason, message in new:
            state = "False" if reason == "JobResumed" else "True"
            if conditions.get(name, {}).get("reason") != reason:
                turned = {"status": state, "lastTransitionTime": stamp(self._world.loop.now())}
                conditions[name] = {"type": name, **turned, "reason": reason, "message": message}
        status: dict[str, Any] = {"conditions": list(conditions.values())}
        counts = {"active": len(alive), "succeeded": tally.succeeded, "failed": tally.failed}
        status |= {name: count for name, count in counts.items() if count}
        if tally.started is not None:
            status["startTime"] = job["status"].get("startTime") or stamp(self._world.loop.now())
        self._world.server.update(key_of("jobs", job), status=status)


def _condition(job: Json, kind: str) -> Any:
    return next((c for c in job["status"].get("conditions") or () if c["type"] == kind), None)


def _exit_code(status: Json) -> int | None:
    states = [container["state"].get("terminated") or {} for container in status.get("containerStatuses") or ()]
    return next((state.get("exitCode") for state in states), None)
