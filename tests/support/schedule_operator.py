"""The operator's production shell for schedules over an API server and records in memory, with a clock that is set.

`ScheduleOperator.turn` shows what the watches would, wakes whose time has come, and works the queue off; what becomes
of the runs is a test's to say.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline_core.errors import PipelinesError
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.runs import NewRun
from pipeline_operator.cluster import Cluster
from pipeline_operator.schedules.parts import Schedules
from support.fake_kubernetes import FakeKubernetes
from support.fake_ledger import FakeFacts
from support.fake_schedule_records import FakeScheduleRecords
from support.operator_world import CATALOG, World

# Keys worked on in one turn: more would be a loop.
_PASSES_MAX = 5_000
NAMESPACE = "default"


class Died(BaseException):
    """The process is gone."""


class EditedKubernetes(FakeKubernetes):
    """Generations grow with the spec, and `managedFields` tell when it was written last."""

    def edit(self, name: str, spec: dict[str, Any], at: datetime, annotations: dict[str, str] | None = None) -> None:
        """`kubectl apply` of another spec, or of annotations."""
        body = self.objects[names.SCHEDULES, NAMESPACE, name]
        metadata = {**body["metadata"]}
        metadata["managedFields"] = [{"manager": "kubectl", "operation": "Update", "time": stamp(at)}]
        if spec:
            metadata["generation"] += 1
        if annotations:
            metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
        self.put(names.SCHEDULES, {**body, "metadata": metadata, "spec": {**body["spec"], **spec}})


class ScheduleOperator(World):
    """One operator, its schedules and what is around it."""

    def __init__(self) -> None:
        self.mirror = FakeScheduleRecords()
        self.monotonic = 0.0
        super().__init__()
        self.kubernetes: EditedKubernetes = EditedKubernetes(self.now)
        self.start_operator()

    def start_operator(self) -> None:
        """A new process, whose watches and first sweep are about to show all."""
        super().start_operator()
        self.runs_woken: list[str] = []
        self.parts = Schedules(
            Cluster(self.kubernetes),
            self.cache,
            self.runs_woken.append,
            CATALOG,
            "dev",
            FakeFacts(self.plans),  # type: ignore[arg-type]
            self.records,  # type: ignore[arg-type]
            self.ledger,  # type: ignore[arg-type]
            self.mirror,
            self.events,
            lambda: self.knows_all,
            self.now,
            lambda: self.monotonic,
        )
        self.cache._schedule_news = self.parts.run_changed

    def pass_time(self, seconds: float) -> None:
        """Let both clocks go on."""
        super().pass_time(seconds)
        self.monotonic += seconds

    def set_clock(self, moment: datetime) -> None:
        """Somebody sets the wall clock."""
        self.time = moment

    def schedule(self, name: str = "nightly", **spec: Any) -> str:
        """`kubectl apply` of a new PipelineSchedule, hourly by default; returns its UID."""
        wanted = {
            "org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing", "cronExpression": "0 * * * *",
            "parameters": {"date": "{{yesterday}}"},
        }  # fmt: skip
        body = {"metadata": {"name": name}, "spec": {**wanted, **spec}}
        uid: str = self.kubernetes.put(names.SCHEDULES, body)["metadata"]["uid"]
        return uid

    def edit(self, name: str = "nightly", annotations: dict[str, str] | None = None, **spec: Any) -> None:
        """`kubectl edit` of it."""
        self.kubernetes.edit(name, spec, self.time, annotations)

    def object(self, name: str = "nightly") -> dict[str, Any]:
        """The PipelineSchedule as it is."""
        return self.kubernetes.objects[names.SCHEDULES, NAMESPACE, name]

    def of(self, name: str = "nightly") -> dict[str, Any]:
        """Its status."""
        return self.object(name).get("status") or {}

    def condition(self, kind: str, name: str = "nightly") -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        (found,) = [each for each in self.of(name)["conditions"] if each["type"] == kind]
        return found["status"], found["reason"], found["message"]

    def runs(self) -> dict[str, dict[str, Any]]:
        """Every PipelineRun by its name."""
        return {name: body for (kind, _, name), body in self.kubernetes.objects.items() if kind == names.RUNS}

    def end(self, name: str, phase: Phase = Phase.COMPLETED) -> None:
        """The run ends, as the operator would have written it, and its record does."""
        body = self.kubernetes.objects[names.RUNS, NAMESPACE, name]
        status = {"phase": phase.value, "completedAt": stamp(self.time)}
        self.kubernetes.put(names.RUNS, {**body, "status": status})
        self.begin_record(name, phase)

    def begin_record(self, name: str, phase: Phase = Phase.RUNNING) -> None:
        """The run has a record."""
        spec = self.runs()[name]["spec"]
        row = NewRun(
            run_id=spec["runId"], org_slug=spec["org"], provider="gcp", domain="cost", pipeline="billing",
            created_at=self.time, created_by=spec["createdBy"],
        )  # fmt: skip
        self.records.begun(row)
        self.records.rows[spec["runId"]]["status"] = phase.word

    def writes(self) -> list[tuple[str, str]]:
        """The calls so far that changed something, Events apart: the method, and of what."""
        return [(method, path.split(f"/namespaces/{NAMESPACE}/")[1]) for method, path in self.kubernetes.writes()]

    def told(self) -> list[tuple[str, str]]:
        """The Events about schedules: reason and message."""
        bodies = [body for (kind, _, _), body in self.kubernetes.objects.items() if kind == "events"]
        mine = [body for body in bodies if body["involvedObject"]["kind"] == names.SCHEDULE_KIND]
        return [(body["reason"], body["message"]) for body in mine]

    def show(self) -> None:
        """Everything that the watches would show by now, deletions included."""
        self.watch()
        seen = set()
        for (plural, _, _), body in list(self.kubernetes.objects.items()):
            if plural == names.SCHEDULES:
                seen.add(body["metadata"]["uid"])
                self.parts.take(body, False)
        for entry in self.parts.cache.entries():
            if entry.schedule.uid not in seen:
                self.parts.take({"metadata": {"uid": entry.schedule.uid}}, True)

    async def turn(self, between: Callable[[], None] = lambda: None) -> None:
        """What happens by itself now; `between` is called before each pass."""
        queue = self.parts.queue
        for _ in range(_PASSES_MAX):
            self.show()
            self.parts.ticker.tick()
            if not queue.depth():
                await self.events.tell_rest()
                return
            between()
            uid = await queue.get()
            try:
                queue.done(uid, await self.parts.reconciler.reconcile(uid))
            except (KubeError, KubeUnavailableError, PipelinesError):
                queue.failed(uid)
        raise AssertionError("the work never ends")

    async def turn_once(self) -> None:
        """One pass of what is due now: a turn, where that would be due again and again."""
        self.show()
        self.parts.ticker.tick()
        uid = await self.parts.queue.get()
        self.parts.queue.done(uid, await self.parts.reconciler.reconcile(uid))

    async def until(self, moment: datetime, step: timedelta = timedelta(minutes=1)) -> None:
        """Let time go on to `moment`, with a turn after each step."""
        await self.turn()
        while self.time < moment:
            self.pass_time(min(step, moment - self.time).total_seconds())
            await self.turn()

    async def survive(self) -> None:
        """Turns until one is lived through and nothing is left to try again, with a new process after each death."""
        for _ in range(50):
            try:
                await self.turn()
            except Died:
                self.start_operator()
                continue
            if not self.parts.queue._due:
                return
            self.pass_time(5.0)  # what was tried in vain is tried again
            await asyncio.sleep(0)
        raise AssertionError("the work never ends")


def stamp(moment: datetime) -> str:
    """As Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
