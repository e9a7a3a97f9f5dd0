"""What must be so whatever happens, checked at each change of the world and at its end.

The right phase of a run, in words:

- Completed: a runner of the run has published; the record's count is the publication's, or unknown.
- Cancelled: somebody had cancelled or deleted it, and when the operator last looked, no Job and no pod of it lived.
- Failed: for a cause that the world knows (`causes`), and no runner had ended well when the operator last looked.
- A run that can't be admitted is Failed as Rejected and never had a Job; so is one whose id another run had first, and
  one that its organization's plan stood against, which then says why (`tenants`).

Of an organization never more pods live than its plan allowed when the last of their runs got its slot (`tenants`).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.runs import phase_of
from sim import causes
from sim.api_server import Change, Key, is_terminal
from sim.truth import RunTruth, run_uid_of
from sim.virtual_time import BEGINNING

if TYPE_CHECKING:
    from sim.world import World

_END = ("status", "reason", "message", "records_processed", "completed_at", "object_uid")


@dataclass(frozen=True, slots=True)
class Violation:
    """A property that didn't hold, and the run concerned (its UID; empty if it isn't one run's)."""

    prop: str
    run: str
    what: str

    def __str__(self) -> str:
        return f"{self.prop}: {self.what}"


class Oracle:
    """Watches the truth, the records and the operators' writes."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.violations: list[Violation] = []
        self._ends: dict[str, tuple[Any, ...]] = {}
        # When the records of runs, by UID, became final.
        self.ended: dict[str, float] = {}
        # When each process last looked at a run's Job or pods: (process, kind, run's UID) -> time.
        self._looked: dict[tuple[str, str, str], float] = {}
        # Since when the objects of runs, by UID, have told of their end.
        self.over: dict[str, float] = {}
        # Those whose Job was found to go on after that.
        self.outlived: set[str] = set()
        # Since when runs, by UID, have said that they wait for a slot.
        self.waiting: dict[str, float] = {}
        # When Jobs, by their UID, were sent off.
        self.sent: dict[str, float] = {}
        # Writes per run, Events apart.
        self.writes: dict[str, int] = {}
        world.server.listeners.append(self._changed)

    def violated(self, prop: str, run: str, what: str) -> None:
        """Note that a property doesn't hold."""
        self.violations.append(Violation(prop, run, what))
        self._world.note("VIOLATION", run, f"{prop}: {what}")

    def begins(self, process: str, uid: str) -> None:
        """A process begins a pass over a run: what it saw before is memory."""
        for plural in ("jobs", "pods"):
            self._looked.pop((process, plural, uid), None)

    def looked(self, process: str, plural: str, uid: str) -> None:
        """A process has read a run's Job or its pods."""
        self._looked[process, plural, uid] = self._world.loop.time()

    def written(self, process: str, method: str, key: Key, uid: str) -> None:
        """A write of an operator that took effect."""
        self.writes[uid] = self.writes.get(uid, 0) + 1
        if method != "DELETE":
            return
        run = self._world.truth.runs.get(uid)
        if key[0] == names.RUNS:
            return
        if run is None:
            self.violated("no stranger's object is deleted", uid, f"{process} deleted {key[0]} {key[2]}")
        elif not (run.given_up or self._is_over(run) or (key[0] == "pods" and self._has_lost_its_job(process, run))):
            self.violated("a live run is left alone", uid, f"{process} deleted {key[0]} {key[2]}")

    def recorded(self, process: str, run_id: str) -> None:
        """A store call about this run has taken effect."""
        row = self._world.rows.get(run_id)
        if row is None:
            return
        run = self._world.truth.runs[row["object_uid"]]
        if phase_of(row["status"]).is_final:
            self.ended.setdefault(run.uid, self._world.loop.time())
        if self._outlives_its_slot(run):
            self.violated("no pod lives without its slot", run.uid, run_id)
        if not phase_of(row["status"]).is_final:
            return
        end = tuple(row[name] for name in _END)
        known = self._ends.setdefault(run_id, end)
        if known is not end:
            if known != end:
                self.violated("a final phase never changes", row["object_uid"], f"record {known} became {end}")
            return
        for what in self._wrong(process, run, row):
            self.violated("the right phase", run.uid, f"{row['status']} ({row['reason']}), though {what}")

    def _wrong(self, process: str, run: RunTruth, row: dict[str, Any]) -> list[str]:
        """What speaks against this end; empty if it is the right one."""
        phase, published = phase_of(row["status"]), self._world.truth.published.get(run.run_id)
        if phase is Phase.COMPLETED:
            if published is None:
                return ["nothing was published"]
            known = row["records_processed"]
            return [f"{published.records} records were published"] if known not in {None, published.records} else []
        if process == "exporter" and published is not None:
            return ["it had published"]
        # Who ends a run without having looked in that pass is held to what is so now.
        pods_seen = self._looked.get((process, "pods", run.uid), self._world.loop.time())
        jobs_seen = self._looked.get((process, "jobs", run.uid), self._world.loop.time())
        wrong = []
        if any(pod.good and pod.gone is None and (pod.ended or 0) < pods_seen for pod in run.pods.values()):
            wrong.append("a runner had ended well")
        if phase is Phase.FAILED:
            return wrong + causes.missing(self._world, run, row["reason"], row["message"], pods_seen)
        if not run.given_up:
            wrong.append("nobody had cancelled or deleted it")
        if any(pod.ended is None and pod.gone is None and pod.made < pods_seen for pod in run.pods.values()):
            wrong.append("a pod of it lives")
        alive = [job for job in run.jobs.values() if job.gone is None and not (job.complete or job.failed)]
        if any(job.made < jobs_seen for job in alive):
            wrong.append("its Job lives")
        return wrong

    def _changed(self, change: Change) -> None:
        if change.key[0] == names.RUNS:
            self._run_changed(change)
        elif change.kind == "ADDED" and (uid := run_uid_of(change.body)):
            alive = [body for body in self._world.server.of(change.key[0]) if run_uid_of(body) == uid and _lives(body)]
            if len(alive) > 1 and not self._came_late(uid):
                found = ", ".join(body["metadata"]["name"] for body in alive)
                self.violated(f"at most one live {change.key[0][:-1]} a run", uid, found)
            if not self._world.truth.runs[uid].valid:
                self.violated("a refused run leaves no Job", uid, change.key[2])
            if change.key[0] == "pods":
                self._pod_added(self._world.truth.runs[uid].org)

    def _came_late(self, uid: str) -> bool:
        """Whether a Job was on its way when another process' Job of the run came and was deleted.

        Nobody can call it back. Its pods live beside those of the other, which are being stopped, until it is deleted.
        """
        jobs = sorted(self._world.truth.runs[uid].jobs.items(), key=lambda job: job[1].made)
        if len(jobs) < 2:
            return False
        (_, before), (newest, _) = jobs[-2:]
        return before.gone is not None and self.sent.get(newest, before.gone) < before.gone

    def _pod_added(self, org: str) -> None:
        """As many as the plan allowed when the last of their runs got its slot: each keeps it while its pod lives."""
        alive = {
            run.run_id: run.uid
            for run in self._world.truth.runs.values()
            if run.org == org and any(pod.ended is None and pod.gone is None for pod in run.pods.values())
        }
        ledger = self._world.ledger.rows
        for run_id, uid in alive.items():
            if self._outlives_its_slot(self._world.truth.runs[uid]):
                self.violated("no pod lives without its slot", uid, run_id)
        # Its slot was given back while its Job was on its way, which nobody can call back, nor could have known of.
        alive = {run_id: uid for run_id, uid in alive.items() if self._is_early(self._world.truth.runs[uid])}
        rows = [ledger[run_id] for run_id in alive if run_id in ledger]
        last = max((row.reserved_at for row in rows), default=BEGINNING)
        limit = self._world.tenants.limit_at(org, (last - BEGINNING).total_seconds())
        if len(alive) > limit:
            for uid in alive.values():
                self.violated("no more pods than the plan allows", uid, f"{len(alive)} of {org}, allowed {limit}")

    def _outlives_its_slot(self, run: RunTruth) -> bool:
        """Whether a pod lives whose run holds no slot; but for one whose Job was on its way when the run ended."""
        row = self._world.ledger.rows.get(run.run_id)
        return self._is_early(run) and (row is None or not row.held)

    def _is_early(self, run: RunTruth) -> bool:
        """Whether a pod lives that was made before the run's end."""
        ended = min(self.ended.get(run.uid, float("inf")), run.removed or float("inf"))
        return any(pod.ended is None and pod.gone is None and pod.made < ended for pod in run.pods.values())

    def _run_changed(self, change: Change) -> None:
        uid = change.body["metadata"]["uid"]
        if change.kind == "DELETED":
            return None
        before, after = ((body or {}).get("status") or {} for body in (change.before, change.body))
        if _is_final(after):
            self.over.setdefault(uid, self._world.loop.time())
        if any(condition["reason"] == Reason.WAITING_FOR_QUOTA for condition in after.get("conditions") or ()):
            self.waiting.setdefault(uid, self._world.loop.time())
        if "phase" not in before or before == after:
            return self.status_agrees(uid, after)
        old, new = Phase(before["phase"]), Phase(after["phase"])
        if old.is_final and before != after:
            return self.violated("a final phase never changes", uid, f"status {before} became {after}")
        if new.rank < old.rank:
            return self.violated("a phase never goes back", uid, f"{old} became {new}")
        return self.status_agrees(uid, after)

    def status_agrees(self, uid: str, status: Json) -> None:
        """Record = object, from the moment on at which the object says that the run is over."""
        if not _is_final(status):
            return
        run = self._world.truth.runs[uid]
        row = self._world.rows.get(run.run_id)
        reason = next(c["reason"] for c in status["conditions"] if c["type"] == "Succeeded")
        if row is None or row["object_uid"] != uid:
            if reason != "Rejected" or row is None:
                self.violated("record = object", uid, f"{status['phase']} ({reason}) without a record of its own")
            return
        said = (status["phase"].lower(), reason, status["message"], status.get("recordsProcessed"))
        stored = (row["status"], row["reason"], row["message"], row["records_processed"])
        if said != stored:
            self.violated("record = object", uid, f"object {said}, record {stored}")

    def _is_over(self, run: RunTruth) -> bool:
        row = self._world.rows.get(run.run_id)
        return row is not None and phase_of(row["status"]).is_final

    def _has_lost_its_job(self, process: str, run: RunTruth) -> bool:
        """Whether there was no Job when the process looked; a second operator may have made one meanwhile."""
        seen = self._looked.get((process, "jobs", run.uid), self._world.loop.time())
        return all(job.gone is not None or job.made > seen for job in run.jobs.values())


def _is_final(status: Json) -> bool:
    return "phase" in status and Phase(status["phase"]).is_final


def _lives(body: Json) -> bool:
    if "phase" in body["status"]:
        return not is_terminal(body)
    return not any(c["type"] in {"Complete", "Failed"} for c in body["status"].get("conditions") or ())
