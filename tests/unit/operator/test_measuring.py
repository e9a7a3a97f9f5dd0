"""What is measured: calls to the API server and to PostgreSQL, runs under way, the process, the catalog."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.outcome import Outcome
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator import catalog_check
from pipeline_operator.catalog_check import check_forever
from pipeline_operator.cluster import Cluster
from pipeline_operator.expectations import Expectations
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.observed_api import ObservedApi
from pipeline_operator.run_gauges import RunGauges
from pipeline_operator.store_metrics import measured
from support.fake_kubernetes import FakeKubernetes
from support.fake_ledger import FakeFacts, FakePlans
from support.operator_world import CONFIGS, FakeRecords, World
from support.waiting import eventually


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


class Grown:
    """By how much a counter has grown since."""

    def __init__(self, name: str, **labels: str) -> None:
        self._name, self._labels = name, labels
        self._before = value(name, **labels)

    def __call__(self) -> float:
        return value(self._name, **self._labels) - self._before


@pytest.fixture
def kubernetes() -> FakeKubernetes:
    return FakeKubernetes()


@pytest.fixture
def cluster(kubernetes: FakeKubernetes) -> Cluster:
    return Cluster(ObservedApi(kubernetes, Expectations((), 90.0, lambda: 0.0)))


async def test_a_call_is_counted_by_verb_resource_and_code(kubernetes: FakeKubernetes, cluster: Cluster) -> None:
    calls: list[tuple[Callable[[], Awaitable[object]], str, str]] = [
        (lambda: cluster.create_job("default", {"metadata": {"name": "a"}}), "create", "jobs"),
        (lambda: cluster.get_job("default", "a"), "get", "jobs"),
        (lambda: cluster.list_pods("default", "run_1"), "list", "pods"),
        (lambda: cluster.patch_run_status("default", "a", "2", {}), "patch", names.RUNS),
        (lambda: cluster.delete_job("default", "a", "uid"), "delete", "jobs"),
    ]
    kubernetes.put(names.RUNS, {"metadata": {"name": "a"}})
    kubernetes.objects[names.RUNS, "default", "a"]["metadata"]["resourceVersion"] = "2"
    kubernetes._version = 2
    for call, verb, resource in calls:
        code = "409" if verb == "delete" else "2xx"
        grown = Grown("pipelines_api_requests_total", verb=verb, resource=resource, code=code)
        timed = Grown("pipelines_api_request_seconds_count", verb=verb, resource=resource)
        await call()
        assert (grown(), timed()) == (1, 1), (verb, resource)


@pytest.mark.parametrize(
    ("error", "code"), [(KubeError(403, "Forbidden", "no"), "403"), (KubeUnavailableError("gone"), "unavailable")]
)
async def test_a_call_that_fails_is_counted_too(
    kubernetes: FakeKubernetes, cluster: Cluster, error: Exception, code: str
) -> None:
    def fail(_method: str, _path: str) -> None:
        raise error

    kubernetes.before = fail
    grown = Grown("pipelines_api_requests_total", verb="get", resource="jobs", code=code)
    with pytest.raises(type(error)):
        await cluster.get_job("default", "a")
    assert grown() == 1


async def test_a_call_to_the_store_is_counted_by_method_and_outcome() -> None:
    records = measured(FakeRecords())
    ok = Grown("pipelines_store_calls_total", call="FakeRecords.get", outcome="ok")
    away = Grown("pipelines_store_calls_total", call="FakeRecords.get", outcome="unavailable")
    timed = Grown("pipelines_store_call_seconds_count", call="FakeRecords.get")
    assert await records.get("run_1") is None

    def fail(_method: str) -> None:
        raise StoreUnavailableError("refused")

    records.fault = fail
    with pytest.raises(StoreUnavailableError):
        await records.get("run_1")
    assert (ok(), away(), timed()) == (1, 1, 2)


def test_each_way_to_end_is_served_before_a_run_has_ended_so() -> None:
    """Or `increase` would be zero where the first run fails so."""
    failed = set(Reason) - {Reason.COMPLETED, Reason.CANCELLED, Reason.ADMITTED, Reason.WAITING_FOR_QUOTA}
    failed -= {
        Reason.QUOTA_UNAVAILABLE,
        Reason.PENDING,
        Reason.STARTING,
        Reason.RUNNING,
        Reason.RETRYING,
        Reason.CANCELLING,
    }
    ends = {("Failed", reason) for reason in failed} | {("Completed", "Completed"), ("Cancelled", "Cancelled")}
    for phase, reason in ends:
        labels = {"phase": phase, "reason": reason}
        assert REGISTRY.get_sample_value("pipelines_runs_finished_total", labels) is not None


def test_so_is_each_outcome_of_a_call_to_the_store_and_each_cause_of_a_failed_export() -> None:
    measured(FakeFacts(FakePlans()))
    registry = CollectorRegistry()
    ExporterMetrics(registry)
    for outcome in ("ok", "unavailable", "refused", "failed"):
        labels = {"call": "FakeFacts.get", "outcome": outcome}
        assert REGISTRY.get_sample_value("pipelines_store_calls_total", labels) is not None
    for cause in ("postgresql", "bigquery", "refused", "internal"):
        assert registry.get_sample_value("pipelines_export_failures_total", {"cause": cause}) == 0


def gauges(world: World) -> dict[str, float]:
    """Name, or name and phase, to value; zeros left out."""
    counted = RunGauges()
    counted.observe(world.cache, world.now)
    samples = [sample for family in counted.collect() for sample in family.samples if sample.value]
    return {" ".join([sample.name, *sample.labels.values()]): sample.value for sample in samples}


async def test_runs_under_way_are_counted_by_phase_with_their_age() -> None:
    world = World()
    world.apply("first")
    world.pass_time(60)
    second = world.apply("second")
    await world.reconcile(second)
    world.pass_time(5)
    assert gauges(world) == {
        "pipelines_runs_active Pending": 1,
        "pipelines_runs_active Validating": 1,
        "pipelines_runs_oldest_seconds Pending": 65,
        "pipelines_runs_oldest_seconds Validating": 5,
    }


async def test_a_run_is_overdue_two_minutes_after_its_timeout() -> None:
    world = World()
    uid = world.apply(timeoutSeconds=60)
    await world.reconcile(uid)
    world.watch()
    world.pass_time(timedelta(minutes=3).total_seconds())
    assert "pipelines_runs_overdue" not in gauges(world)
    world.pass_time(1)
    assert gauges(world)["pipelines_runs_overdue"] == 1


@pytest.mark.parametrize("by_deletion", [False, True])
async def test_a_cancelled_run_is_overdue_while_a_silent_node_keeps_its_pod(by_deletion: bool) -> None:
    world = World()
    await world.running()
    for (plural, namespace, name), body in list(world.kubernetes.objects.items()):
        if plural == "jobs" or (plural == names.RUNS and by_deletion):
            world.kubernetes.remove(plural, namespace, name)
        elif plural == "pods":
            gone_by = (world.now() + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
            world.kubernetes.put("pods", {**body, "metadata": {**body["metadata"], "deletionTimestamp": gone_by}})
    world.watch()
    world.pass_time(150)
    assert "pipelines_runs_overdue" not in gauges(world)
    world.pass_time(1)
    assert gauges(world)["pipelines_runs_overdue"] == 1


async def test_the_times_of_a_run_are_observed_at_its_end() -> None:
    world = World()
    ended = Grown("pipelines_runs_finished_total", phase="Completed", reason="Completed")
    took = Grown("pipelines_run_duration_seconds_sum", phase="Completed")
    started = Grown("pipelines_run_start_delay_seconds_sum")
    reported = Grown("pipelines_run_report_delay_seconds_sum")
    uid = world.apply()
    await world.reconcile(uid)
    world.pass_time(4)
    world.start_pods()
    world.pass_time(40)
    world.end_pods(Outcome(status="succeeded", records_processed=1))
    world.pass_time(3)
    for _ in range(3):
        await world.reconcile(uid)
    assert (ended(), took(), started(), reported()) == (1, 44, 4, 3)


async def test_a_broken_catalog_is_noticed_without_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_check, "_SECONDS", 0.01)
    shutil.copytree(CONFIGS, tmp_path / "configs")
    path = tmp_path / "configs" / "gcp" / "cost" / "billing.yml"
    good = path.read_text()

    async def says(expected: float) -> bool:
        return value("pipelines_catalog_invalid") == expected

    catalog = CatalogWatcher(tmp_path / "configs")
    catalog.current()
    task = asyncio.create_task(check_forever(catalog))
    try:
        path.write_text("pipeline: [")
        await eventually(lambda: says(1))
        path.write_text(good)
        await eventually(lambda: says(0))
    finally:
        task.cancel()
        await asyncio.wait([task])
