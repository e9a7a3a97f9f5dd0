"""A watched namespace that is deleted, or refused, does the others no harm, and is watched again when it is back."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.changes import begun
from pipeline_core.store.runs import NewRun
from pipeline_operator import health, namespaces
from pipeline_operator.cluster import Cluster
from pipeline_operator.expectations import Expectations
from pipeline_operator.health import Health
from pipeline_operator.intake import Intake
from pipeline_operator.namespaces import NamespaceBackError, Namespaces
from pipeline_operator.observed_api import ObservedApi
from pipeline_operator.parts import Operator
from pipeline_operator.queue import WorkQueue
from pipeline_operator.settings import OperatorSettings
from pipeline_operator.sweep import Sweep
from support.fake_ledger import FakeFacts
from support.fake_schedule_records import FakeScheduleRecords
from support.operator_world import CONFIGS, T0, World
from support.waiting import eventually

OWN = "pipelines"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "_RETRY_SECONDS", 0.01)
    monkeypatch.setattr(namespaces, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(health, "_LOOK_SECONDS", 0.01)


class Place:
    """A world whose namespaces can be deleted, and made anew with and without the operator's rights in them."""

    def __init__(self, *watched: str) -> None:
        self.world = World()
        self.watched = watched
        self.queue = WorkQueue()
        self.without_rights: set[str] = set()
        self.world.kubernetes.before = self._authorize
        for namespace in (*watched, "default"):
            self.make(namespace)
        expectations = Expectations(watched, 90.0, asyncio.get_running_loop().time)
        self.cluster = Cluster(ObservedApi(self.world.kubernetes, expectations))
        self.namespaces = Namespaces(self.cluster, watched, OWN)
        self.sweep = Sweep(self.cluster, self.world.cache, self.queue, self.world.records, self.namespaces)  # type: ignore[arg-type]

    def _authorize(self, _method: str, path: str) -> None:
        for namespace in self.without_rights:
            if f"/namespaces/{namespace}/" in path:
                raise KubeError(403, "Forbidden", f"no rights in {namespace}")
        if path == f"/api/v1/namespaces/{OWN}":
            raise KubeError(403, "Forbidden", "no right to ask for this one")

    def make(self, namespace: str, *, rights: bool = True) -> None:
        """`kubectl create namespace`, and the upgrade that brings the rights."""
        self.world.kubernetes.objects["namespaces", "", namespace] = {"metadata": {"name": namespace}}
        (self.without_rights.discard if rights else self.without_rights.add)(namespace)

    def delete(self, namespace: str) -> None:
        """All that was in it goes, the Role first."""
        self.without_rights.add(namespace)
        objects = self.world.kubernetes.objects
        for key in [key for key in objects if namespace in (key[1], key[2])]:
            del objects[key]

    def apply(self, namespace: str) -> str:
        spec = {"org": "acme", "provider": "gcp", "domain": "cost", "pipeline": "billing"}
        body = {"metadata": {"name": "billing", "namespace": namespace}, "spec": spec}
        uid: str = self.world.kubernetes.put(names.RUNS, body)["metadata"]["uid"]
        return uid

    def record(self, namespace: str, run_id: str) -> None:
        """An unfinished record of a run that had a Job."""
        new = NewRun(
            run_id=run_id, org_slug="acme", provider="gcp", domain="cost", pipeline="billing", parameters={},
            created_by="test", created_at=T0,
            object_namespace=namespace, object_name=run_id, object_uid=f"uid_{run_id}",
        )  # fmt: skip
        unset = dict.fromkeys(
            ("started_at", "completed_at", "records_processed", "error_message", "reason", "message", "undecided_since")
        )
        self.world.records.rows[run_id] = {**unset, **begun(new), "job_name": run_id}


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


@pytest.mark.parametrize("watched", [("gone", "default"), ("default", "gone")])
async def test_the_sweep_goes_on_and_ends_what_went_with_a_namespace(watched: tuple[str, str]) -> None:
    place = Place(*watched)
    here, there = place.apply("default"), place.apply("gone")
    for uid in (here, there):
        await place.world.reconcile(uid)
    place.delete("gone")
    await place.sweep.round()
    assert place.sweep.rounds == 1
    assert place.world.cache.get(here).doubted
    assert {await place.queue.get(), await place.queue.get()} == {here, there}
    await place.world.reconciler.reconcile(there)
    assert place.world.record(there).undecided_since is not None, "the exporter asks whether it had published"
    assert not place.world.record(here).phase.is_final


async def test_a_namespace_without_rights_that_is_there_is_passed_over() -> None:
    place = Place("taken", "default")
    here, there = place.apply("default"), place.apply("taken")
    for uid in (here, there):
        await place.world.reconcile(uid)
    place.without_rights.add("taken")
    await place.sweep.round()
    assert place.world.cache.get(here).doubted
    assert place.world.cache.get(there).run is not None
    assert place.queue.depth() == 1
    assert not place.world.record(there).phase.is_final


async def test_the_operators_own_namespace_is_not_asked_for() -> None:
    place = Place(OWN)
    assert await place.namespaces.until_served() == [OWN]
    await place.sweep.round()
    assert ("GET", f"/api/v1/namespaces/{OWN}") not in place.world.kubernetes.calls


@pytest.mark.parametrize("watched", [("gone", "default"), ("default", "gone")])
@pytest.mark.parametrize("is_there", [True, False])
async def test_a_start_leaves_out_what_can_not_be_worked_in(watched: tuple[str, str], is_there: bool) -> None:
    place = Place(*watched)
    place.delete("gone")
    if is_there:
        place.make("gone", rights=False)
    async with asyncio.timeout(5):
        assert await place.namespaces.until_served() == ["default"]
    reason = "refused" if is_there else "gone"
    assert gauge("pipelines_namespaces_left_out", reason=reason) == 1


async def test_a_start_waits_where_all_is_refused_but_not_where_all_is_gone() -> None:
    place = Place("one", "two")
    place.delete("two")
    place.without_rights.add("one")
    waiting = asyncio.create_task(place.namespaces.until_served())
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    place.delete("one")
    assert await asyncio.wait_for(waiting, 5) == []


async def test_a_namespace_that_is_back_with_its_rights_is_told_and_not_before() -> None:
    place = Place("gone", "default")
    place.delete("gone")
    await place.namespaces.until_served()
    back = asyncio.create_task(place.namespaces.until_back())
    place.make("gone", rights=False)
    done, _ = await asyncio.wait([back], timeout=0.1)
    assert not done
    place.make("gone")
    with pytest.raises(NamespaceBackError, match="gone"):
        await asyncio.wait_for(back, 5)
    assert gauge("pipelines_namespaces_left_out", reason="gone") == 0


async def test_where_none_is_left_out_nothing_is_looked_for() -> None:
    place = Place("default")
    await place.namespaces.until_served()
    await asyncio.wait_for(place.namespaces.until_back(), 1)


async def test_a_watch_is_not_blamed_for_a_namespace_that_is_gone() -> None:
    now = [0.0]
    place = Place("gone")
    expectations = Expectations(["gone"], 90.0, lambda: now[0])
    cluster = Cluster(ObservedApi(place.world.kubernetes, expectations))
    place.apply("gone")
    await cluster.get_run("gone", "billing")
    place.delete("gone")
    for _ in range(10):
        now[0] += 5
        expectations.answered()
    assert expectations.late()
    judge = Health(place.queue, expectations, lambda: True, lambda: now[0])
    looking = asyncio.create_task(judge.look_forever(cluster))

    async def looked() -> bool:
        return not expectations.late()

    try:
        await eventually(looked)
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def test_records_of_a_namespace_that_is_no_longer_watched_end_once_it_is_gone() -> None:
    place = Place("default")
    place.make("other", rights=False)
    place.record("other", "run_other")
    place.record("default", "run_here")
    await place.sweep.round()
    assert gauge("pipelines_records_out_of_reach") == 1
    assert [await place.queue.get(), place.queue.depth()] == ["uid_run_here", 1]
    place.delete("other")
    await place.sweep.round()
    assert gauge("pipelines_records_out_of_reach") == 0
    await place.world.reconciler.reconcile("uid_run_other")
    assert place.world.records.rows["run_other"]["undecided_since"] is not None


class Watches:
    """An informer that notes what it is to watch."""

    def __init__(self, seen: list[Sequence[str]], watched: Sequence[str]) -> None:
        self._seen, self._watched = seen, watched

    @property
    def is_ready(self) -> bool:
        return self._watched in self._seen

    async def run(self) -> None:
        self._seen.append(self._watched)
        await asyncio.Event().wait()


class Process(Operator):
    """Without its HTTP server."""

    async def _serve(self) -> None:
        await asyncio.Event().wait()


def process(place: Place, seen: list[Sequence[str]]) -> Process:
    def informer(_: Intake, watched: Sequence[str], kinds: Sequence[str] = ()) -> Any:
        return Watches(seen, [*watched, *kinds])

    settings = OperatorSettings(
        env="dev",
        catalog_dir=CONFIGS,
        runner_template=Path(__file__).parents[2] / "sim" / "runner.yaml",
        namespaces=list(place.watched),
        POD_NAME="operator-1",
        POD_NAMESPACE=OWN,
    )
    world = place.world
    facts = FakeFacts(world.plans)
    stores = (world.records, world.ledger, facts, FakeScheduleRecords())
    return Process(settings, world.kubernetes, *stores, now=world.now, informer=informer)  # type: ignore[arg-type]


async def test_a_process_watches_what_is_there_and_ends_to_watch_what_is_back() -> None:
    place, seen = Place("gone", "default"), list[Sequence[str]]()
    uid = place.apply("default")
    place.delete("gone")
    first = process(place, seen)
    running = asyncio.create_task(first.run())

    async def works() -> bool:
        assert not running.done(), running.exception()
        return first.health.ready() is None and any(kind == "jobs" for kind, _, _ in place.world.kubernetes.objects)

    await eventually(works)
    place.make("gone")
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(running, 10)
    assert ended.group_contains(NamespaceBackError)
    running = asyncio.create_task(process(place, seen).run())

    async def watches_both() -> bool:
        return len(seen) == 2

    try:
        await eventually(watches_both)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert seen == [["default"], ["gone", "default"]]
    assert place.world.record(uid).phase is not Phase.FAILED


async def test_runs_are_worked_on_where_schedules_cannot_be_listed() -> None:
    place, seen = Place("with", "without"), list[Sequence[str]]()
    authorize, is_refused = place.world.kubernetes.before, True

    def refuses(method: str, path: str) -> None:
        authorize(method, path)
        if is_refused and path.endswith("/without/pipelineschedules"):
            raise KubeError(403, "Forbidden", "cannot list resource pipelineschedules")

    place.world.kubernetes.before = refuses
    place.apply("without")
    first = process(place, seen)
    with capture_logs() as logs:
        running = asyncio.create_task(first.run())

        async def works() -> bool:
            assert not running.done(), running.exception()
            return first.health.ready() is None and any(kind == "jobs" for kind, _, _ in place.world.kubernetes.objects)

        await eventually(works)
    assert seen == [["with", "without", names.RUNS, "jobs", "pods"], ["with", names.SCHEDULES]]
    (line,) = [line for line in logs if "no schedule is seen to here" in line["event"]]
    assert (line["namespace"], line["log_level"]) == ("without", "error")
    is_refused = False
    with pytest.raises(ExceptionGroup) as ended:
        await asyncio.wait_for(running, 10)
    assert ended.group_contains(NamespaceBackError)


async def test_without_the_right_everywhere_no_schedule_is_watched() -> None:
    place, seen = Place(), list[Sequence[str]]()

    def refuses(_method: str, path: str) -> None:
        if path.endswith("/pipelineschedules"):
            raise KubeError(403, "Forbidden", "cannot list resource pipelineschedules")

    place.world.kubernetes.before = refuses
    first = process(place, seen)
    running = asyncio.create_task(first.run())

    async def is_ready() -> bool:
        assert not running.done(), running.exception()
        return first.health.ready() is None and bool(seen)

    try:
        await eventually(is_ready)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert seen == [[names.RUNS, "jobs", "pods"]]
