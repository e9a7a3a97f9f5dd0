"""The operator's production shell over an API server, records and a clock in memory, with a cluster that does the rest.

`World.step` plays one turn: watch events reach the cache, due runs are reconciled, and the Job controller and kubelet
(a few lines here) move Jobs and pods on.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline_core import identifiers
from pipeline_core.admission.subscription import Limits
from pipeline_core.admission.tenancy import TenancyMode
from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.kube import names
from pipeline_core.lifecycle.actions import Deadlines
from pipeline_core.outcome import Outcome
from pipeline_core.store import changes
from pipeline_core.store.errors import RunIdTakenError, RunNotRecordedError
from pipeline_core.store.runs import NewRun, StoredRun, phase_of
from pipeline_core.store.views import RunStatus
from pipeline_operator.admission import Admission
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.ending import Ending
from pipeline_operator.events import Events
from pipeline_operator.healing import Healing
from pipeline_operator.job_making import JobMaking
from pipeline_operator.queueing import Queueing
from pipeline_operator.reconciler import Reconciler
from pipeline_operator.reporting import Reporting
from pipeline_operator.settings import RunnerTemplate
from pipeline_operator.settling import Settling
from pipeline_operator.slots import Slots
from pipeline_operator.starting import Starting
from pipeline_operator.tenancy import Tenancy
from pipeline_operator.waiting_room import WaitingRoom
from pipeline_operator.writer import StatusWriter
from support.fake_kubernetes import FakeKubernetes
from support.fake_ledger import FakeFacts, FakeLedger, FakePlans

CONFIGS = Path(__file__).parents[2] / "configs"
# Read once: it costs more than all else in a world.
CATALOG = CatalogWatcher(CONFIGS)
T0 = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


class FakeRecords:
    """RunRecords without PostgreSQL: the same pure rules over a dictionary."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.fault: Any = lambda method: None
        self.ledger: FakeLedger | None = None

    async def begin(self, record: NewRun) -> StoredRun:
        self.fault("begin")
        return self.begun(record)

    def begun(self, record: NewRun) -> StoredRun:
        """The record, begun or bound to what is new of it."""
        row = self.rows.get(record.run_id)
        was_there = row is not None
        if row is None:
            unset = dict.fromkeys(
                ("started_at", "completed_at", "records_processed", "error_message", "reason", "refusal", "job_name",
                 "message", "undecided_since")
            )  # fmt: skip
            row = self.rows[record.run_id] = {**unset, **changes.begun(record)}
        columns = changes.bound(StoredRun.from_row(row), record)
        row = self.rows[record.run_id] = {**row, **columns}
        was_bound = was_there and "object_uid" not in columns
        return replace(StoredRun.from_row(row), was_there=was_there, was_bound=was_bound)

    async def advance(self, run_id: str, *, object_uid: str | None = None, **report: Any) -> bool:
        self.fault("advance")
        columns = changes.advanced(self._stored(run_id, object_uid), **report)
        self.rows[run_id].update(columns)
        return bool(columns)

    async def finish(self, run_id: str, *, object_uid: str | None = None, frees: bool = False, **end: Any) -> StoredRun:
        self.fault("finish")
        columns = changes.finished(self._stored(run_id, object_uid), **end)
        return self._settled(run_id, columns, frees)

    async def leave_undecided(
        self, run_id: str, *, object_uid: str | None = None, frees: bool = False, **state: Any
    ) -> StoredRun:
        self.fault("leave_undecided")
        return self._settled(run_id, changes.undecided(self._stored(run_id, object_uid), **state), frees)

    def _settled(self, run_id: str, columns: dict[str, Any], frees: bool) -> StoredRun:
        self.rows[run_id].update(columns)
        stored = self._stored(run_id)
        if self.ledger is not None:
            self.ledger.settle(stored, frees=frees)
        return stored

    async def undecided(self, *, limit: int = 100) -> list[StoredRun]:
        self.fault("undecided")
        return [self._stored(run_id) for run_id in sorted(self.rows) if self.rows[run_id]["undecided_since"]][:limit]

    async def get(self, run_id: str) -> StoredRun | None:
        self.fault("get")
        return self._stored(run_id) if run_id in self.rows else None

    async def status(self, run_id: str, org_slug: str) -> RunStatus | None:
        self.fault("status")
        row = self.rows.get(run_id)
        stored = StoredRun.from_row(row) if row is not None and row["org_slug"] == org_slug else None
        return stored and RunStatus._make(getattr(stored, name) for name in RunStatus._fields)

    async def unfinished(self, *, after: str | None = None, limit: int = 500) -> list[StoredRun]:
        self.fault("unfinished")
        ids = [i for i in sorted(self.rows) if i > (after or "") and not phase_of(self.rows[i]["status"]).is_final]
        return [self._stored(run_id) for run_id in ids[:limit]]

    def _stored(self, run_id: str, object_uid: str | None = None) -> StoredRun:
        if run_id not in self.rows:
            raise RunNotRecordedError(run_id)
        if object_uid not in {None, self.rows[run_id]["object_uid"]}:
            raise RunIdTakenError(run_id)
        return StoredRun.from_row(self.rows[run_id])


class World:
    """One operator and what is around it."""

    def __init__(self) -> None:
        self.time = T0
        self.kubernetes = FakeKubernetes(self.now)
        self.records = FakeRecords()
        self.plans = FakePlans()
        self.tenancy = TenancyMode.SHARED
        self.ledger = FakeLedger(self.records, self.plans, self.now)
        # The runner template's: its pods' annotations, or why it can't be read.
        self.annotations: dict[str, str] = {}
        self.template_error: Exception | None = None
        # Whether the operator's watches and its sweep have shown every run.
        self.knows_all = True
        # For how long a phase that a run passes through may go unsaid.
        self.unsaid = timedelta()
        self.start_operator()

    def now(self) -> datetime:
        return self.time

    def start_operator(self) -> None:
        """A new process: nothing is remembered but what the API server and the records hold."""
        self.cache = Cache()
        cluster = Cluster(self.kubernetes)
        self.events = events = Events(cluster, self.now)
        writer = StatusWriter(cluster, self.cache, self.now)
        self.woken: list[str] = []
        self.room = room = WaitingRoom(self.ledger, self.cache, self.woken.append, lambda: self.knows_all, self._clock)
        self.healing = Healing(cluster, self.cache, self.ledger, self.now, room)
        tenancy = Tenancy(cluster, self.tenancy, self._clock)
        ending = Ending(self.records, self.cache, tenancy, writer, events, self.now, room.slot_freed)
        jobs = JobMaking(
            cluster,
            self.cache,
            self.records,
            ending,
            writer,
            events,
            template=self._template,
            keyset_secret="",
            progress=("http://operator/progress", "key"),
            now=self.now,
            deadline=Deadlines().schedule,
        )
        starting = Starting(
            cluster,
            self.cache,
            self.records,
            Admission(CATALOG, FakeFacts(self.plans), "dev", tenancy),
            Slots(self.ledger, self.cache, self.healing, room),
            Queueing(room, self.records, ending, writer, events, self.now),
            jobs,
            ending,
            writer,
            self.now,
        )
        self.reconciler = Reconciler(
            cluster,
            self.cache,
            self.records,
            self.ledger,
            room,
            starting,
            Reporting(self.records, ending, writer, self.now, lambda _first: self.unsaid),
            ending,
            Settling(cluster, self.cache, self.records, self.ledger, self.now, room.slot_freed),
            events,
            self.now,
            Deadlines(),
        )

    def _clock(self) -> float:
        return self.time.timestamp()

    def _template(self) -> RunnerTemplate:
        if self.template_error is not None:
            raise self.template_error
        return RunnerTemplate(image="localhost/runner:1", annotations=self.annotations)

    def apply(self, name: str = "billing", **spec: Any) -> str:
        """`kubectl apply` of a PipelineRun; returns its UID."""
        wanted = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing", **spec}
        body = {"metadata": {"name": name}, "spec": wanted}
        uid: str = self.kubernetes.put(names.RUNS, body)["metadata"]["uid"]
        return uid

    def allow(self, concurrent: int, *, per_day: int = 1_000, org: str = "acme") -> None:
        """The limits of an organization's plan, made known if it isn't."""
        self.plans.limits[org] = Limits(per_day, 1_000_000, concurrent)
        self.plans.integrated.add(org)

    def holders(self, org: str = "acme") -> list[str]:
        """The runs that hold the organization's slots, by their objects' names, in the order in which they got them."""
        rows = self.ledger.rows.items()
        ids = [run_id for run_id, row in rows if row.held and row.org_slug == org]
        return [self.records.rows[run_id]["object_name"] for run_id in ids]

    def job_of(self, name: str) -> str:
        """The name of this run's Job."""
        return identifiers.object_name(identifiers.run_id_from_uid(self.run(name)["metadata"]["uid"]))

    def run(self, name: str = "billing") -> dict[str, Any]:
        """The PipelineRun as it is."""
        return self.kubernetes.objects[names.RUNS, "default", name]

    def status(self, name: str = "billing") -> dict[str, Any]:
        """Its status."""
        return self.run(name).get("status") or {}

    def watch(self) -> None:
        """Everything that the watches would show by now, deletions included."""
        seen = set()
        for (plural, _, _), body in list(self.kubernetes.objects.items()):
            if plural == names.RUNS:
                seen.add(body["metadata"]["uid"])
                self.cache.put_run(body)
            elif plural == "jobs":
                self.cache.put_job(body)
            elif plural == "pods":
                self.cache.put_pod(body)
        for run in list(self.cache.runs()):
            if run.uid not in seen:
                self.cache.drop_run(run.uid)
        self._forget_what_is_gone("jobs")
        self._forget_what_is_gone("pods")

    def _forget_what_is_gone(self, plural: str) -> None:
        there = {body["metadata"]["uid"] for (kind, _, _), body in self.kubernetes.objects.items() if kind == plural}
        for entry in self.cache._entries.values():
            if plural == "jobs" and entry.job and entry.job.uid not in there:
                entry.job = None
            if plural == "pods":
                for pod in entry.pods.values():
                    if pod.uid not in there:
                        entry.note_gone(pod)
                entry.pods = {uid: pod for uid, pod in entry.pods.items() if uid in there}

    async def reconcile(self, uid: str) -> float | None:
        """One pass over what the watches show now."""
        self.watch()
        again = await self.reconciler.reconcile(uid)
        await self.events.tell_rest()
        return again

    async def running(self, name: str = "billing", **spec: Any) -> str:
        """A PipelineRun that has been applied and whose pod works; returns its UID."""
        uid = self.apply(name, **spec)
        await self.reconcile(uid)
        self.start_pods()
        await self.reconcile(uid)
        assert self.status(name)["phase"] == "Running"
        return uid

    async def call_waiting(self) -> list[str]:
        """The waiting room calls, and whoever it wakes has a pass; returns their names in that order."""
        names_of = {body["metadata"]["uid"]: key[2] for key, body in self.kubernetes.objects.items()}
        passed = []
        await self.room.call()
        while self.woken:
            uid = self.woken.pop(0)
            passed.append(names_of[uid])
            await self.reconcile(uid)
        return passed

    def start_pods(self) -> None:
        """The Job controller and the kubelet: a running pod for each Job that has none."""
        for (plural, ns, name), job in list(self.kubernetes.objects.items()):
            if plural == "jobs" and ("pods", ns, f"{name}-a") not in self.kubernetes.objects:
                template = job["spec"]["template"]["metadata"]
                metadata = {"name": f"{name}-a", "namespace": ns, **template}
                state = {"running": {"startedAt": self._stamp()}}
                self.kubernetes.put("pods", {"metadata": metadata, "status": self._pod_status("Running", state)})

    def end_pods(self, outcome: Outcome | None, exit_code: int = 0, reason: str = "Completed", *, of: str = "") -> None:
        """Every running pod ends so, or those `of` the Job of this name."""
        for (plural, _, name), pod in list(self.kubernetes.objects.items()):
            if plural == "pods" and pod["status"]["phase"] == "Running" and name.startswith(of):
                began = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
                ended = {"exitCode": exit_code, "reason": reason, "startedAt": began, "finishedAt": self._stamp()}
                if outcome is not None:
                    ended["message"] = outcome.to_message()
                pod["status"] = self._pod_status("Failed" if exit_code else "Succeeded", {"terminated": ended})
                self.kubernetes.put("pods", pod)

    def fail_jobs(self, reason: str = "BackoffLimitExceeded") -> None:
        """The Job controller gives every Job up."""
        for (plural, _, _), job in list(self.kubernetes.objects.items()):
            if plural == "jobs":
                job["status"] = {"failed": 1, "conditions": [{"type": "Failed", "status": "True", "reason": reason}]}
                self.kubernetes.put("jobs", job)

    def stop_deleted_pods(self) -> None:
        """The kubelet: a pod that was asked to go goes."""
        for (plural, ns, name), body in list(self.kubernetes.objects.items()):
            if plural == "pods" and "deletionTimestamp" in body["metadata"]:
                self.kubernetes.remove("pods", ns, name)

    def collect_garbage(self) -> None:
        """The garbage collector: Jobs without their run, pods without their Job."""
        uids = {body["metadata"]["uid"] for body in self.kubernetes.objects.values()}
        for (plural, ns, name), body in list(self.kubernetes.objects.items()):
            if plural == "jobs" and body["metadata"]["ownerReferences"][0]["uid"] not in uids:
                self.kubernetes.remove("jobs", ns, name)
        for (plural, ns, name), _ in list(self.kubernetes.objects.items()):
            if plural == "pods" and ("jobs", ns, name.removesuffix("-a")) not in self.kubernetes.objects:
                self.kubernetes.remove("pods", ns, name)

    def pass_time(self, seconds: float) -> None:
        """Let the clock go on."""
        self.time += timedelta(seconds=seconds)

    def record(self, uid: str) -> StoredRun:
        """The record of the run of this UID."""
        row = next(row for row in self.records.rows.values() if row["object_uid"] == uid)
        return replace(StoredRun.from_row(row))

    def _stamp(self) -> str:
        return self.time.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _pod_status(self, phase: str, state: dict[str, Any]) -> dict[str, Any]:
        return {"phase": phase, "containerStatuses": [{"name": names.RUNNER_CONTAINER, "state": state}]}
