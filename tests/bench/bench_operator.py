"""What the operator adds to a Job, and what it costs, beside bare Jobs that run the very same container.

The trivial pipeline `demo/test/noop`; a bare Job has the pod template of a run's Job but for what leads back to the
operator. Needs the embedded cluster: it brings it up, and reads the operator's process there.
"""

import asyncio
import copy
import secrets
import time
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline_core.run_document import RUN_DOCUMENT_ANNOTATION
from pipeline_local.kubeconfig import NAMESPACE
from pipeline_local.state import State
from support.figures import median, show
from support.installation import Installation
from support.load import JOBS, RUNS, ApiServer, Json, Timing, at_once
from support.measured_operator import calm, the_operator
from support.operator_process import OPERATOR, OperatorProcess, is_ready, total
from support.simulated_nodes import NODES

MOST_WRITES, MOST_EVENTS, MOST_RECONCILES = 5, 3, 10

ONE_BY_ONE = 20
BURST = 100
CROWD = 1_000
HISTORY = 10_000
IDLE_SECONDS = 90
WATCHED = "pipelines_watch_events_total"

pytestmark = pytest.mark.timeout(1200)


def run_manifest() -> Json:
    """A run of the trivial pipeline."""
    return {
        "apiVersion": "pipelines.dev/v1alpha1",
        "kind": "PipelineRun",
        "metadata": {"name": f"bench-{secrets.token_hex(6)}"},
        "spec": {"org": "acme", "provider": "demo", "domain": "test", "pipeline": "noop"},
    }


def bare_job(of_a_run: Json) -> Json:
    """A Job with the same container, which neither the operator nor a user of it knows."""
    spec = copy.deepcopy(of_a_run["spec"])
    spec.pop("selector")
    metadata = spec["template"]["metadata"]
    document = metadata["annotations"][RUN_DOCUMENT_ANNOTATION]
    spec["template"]["metadata"] = {"annotations": {RUN_DOCUMENT_ANNOTATION: document}}
    for container in spec["template"]["spec"]["containers"]:
        container["env"] = [each for each in container["env"] if not each["name"].startswith("PIPELINES_PROGRESS_")]
    metadata = {"name": f"bench-{secrets.token_hex(6)}"}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


async def template(server: ApiServer, namespace: str) -> Json:
    """The Job of a run that has just completed."""
    run = run_manifest()
    await server.timed(RUNS, namespace, [run])
    name = (await server.request("GET", f"{RUNS.path(namespace)}/{run['metadata']['name']}"))["status"]["jobName"]
    return await server.request("GET", f"{JOBS.path(namespace)}/{name}")


def test_one_at_a_time(api: Any) -> None:
    async def measure(server: ApiServer) -> tuple[list[float], list[float]]:
        job = await template(server, NAMESPACE)
        runs: list[float] = []
        jobs: list[float] = []
        for _ in range(ONE_BY_ONE):
            runs += (await server.timed(RUNS, NAMESPACE, [run_manifest()])).each
            jobs += (await server.timed(JOBS, NAMESPACE, [bare_job(job)])).each
        await server.clear(NAMESPACE)
        return runs, jobs

    runs, jobs = api(measure)
    show(
        f"One at a time on the real node, created → ended, {ONE_BY_ONE} of each in turn",
        ["", "median s", "fastest s", "slowest s", "median to baseline"],
        [_spread("PipelineRun", runs, jobs), _spread("bare Job (baseline)", jobs, jobs)],
    )


def _spread(name: str, seconds: list[float], baseline: list[float]) -> list[str]:
    low, high = min(seconds), max(seconds)
    return [name, f"{median(seconds):.2f}", f"{low:.2f}", f"{high:.2f}", f"{median(seconds) / median(baseline):.2f}"]


def test_burst(api: Any) -> None:
    async def measure(server: ApiServer) -> tuple[Timing, Timing]:
        job = await template(server, NAMESPACE)
        await server.clear(NAMESPACE)
        jobs = await server.timed(JOBS, NAMESPACE, [bare_job(job) for _ in range(BURST)])
        await server.clear(NAMESPACE)
        runs = await server.timed(RUNS, NAMESPACE, [run_manifest() for _ in range(BURST)])
        await server.clear(NAMESPACE)
        return runs, jobs

    runs, jobs = api(measure)
    show(
        f"{BURST} at once on the real node",
        ["", "wall s", "to baseline", "median s", "to baseline"],
        [_both("PipelineRuns", runs, jobs), _both("bare Jobs (baseline)", jobs, jobs)],
    )


def _both(name: str, timing: Timing, baseline: Timing) -> list[str]:
    each, other = median(timing.each), median(baseline.each)
    return [name, f"{timing.wall:.1f}", f"{timing.wall / baseline.wall:.2f}", f"{each:.1f}", f"{each / other:.2f}"]


@dataclass(frozen=True)
class Cost:
    """What the operator has spent since some moment: CPU in seconds, and calls."""

    cpu: float
    reconciles: float
    writes: float

    def __sub__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu - other.cpu, self.reconciles - other.reconciles, self.writes - other.writes)


async def spent(server: ApiServer, operator: OperatorProcess) -> Cost:
    """Writes as the API server counts them: of statuses of runs and of Jobs, which nobody else makes meanwhile."""
    metrics = await server.text("/metrics")

    def requests(*labels: str) -> float:
        return total(metrics, "apiserver_request_total", *labels)

    statuses = requests('resource="pipelineruns"', 'subresource="status"', 'verb="PATCH"')
    jobs = requests('resource="jobs"', 'verb="POST"') + requests('resource="jobs"', 'verb="DELETE"')
    return Cost(operator.cpu_seconds(), operator.counter("pipelines_reconciles_total"), statuses + jobs)


async def settled(operator: OperatorProcess) -> None:
    """Wait until the operator has nothing more to do: its Jobs' last events come after their runs' ends."""
    seen = -1.0
    while (now := operator.counter("pipelines_reconciles_total")) != seen:
        seen = now
        await asyncio.sleep(5)


async def told(server: ApiServer, namespace: str) -> int:
    """How many Events stand on runs."""
    selector = "involvedObject.kind=PipelineRun"
    return len((await server.request("GET", f"/api/v1/namespaces/{namespace}/events", fieldSelector=selector))["items"])


def show_cost(title: str, cost: Cost, events: int, runs: int) -> None:
    rows = [
        ["CPU", f"{1000 * cost.cpu / runs:.1f} ms", "15 ms"],
        ["API writes, Events apart", f"{cost.writes / runs:.2f}", str(MOST_WRITES)],
        ["Events", f"{events / runs:.2f}", str(MOST_EVENTS)],
        ["reconciles", f"{cost.reconciles / runs:.2f}", str(MOST_RECONCILES)],
    ]
    show(title, ["", "each", "at most"], rows)


def test_crowd(api: Any, cluster: Installation, on_simulated_nodes: tuple[str, str]) -> None:
    in_runs, in_jobs = on_simulated_nodes
    operator = the_operator(cluster)

    async def measure(server: ApiServer) -> tuple[Timing, Timing, Cost, int]:
        job = await template(server, in_runs)
        jobs = await server.timed(JOBS, in_jobs, [bare_job(job) for _ in range(CROWD)])
        await settled(operator)
        before, events = await spent(server, operator), await told(server, in_runs)
        runs = await server.timed(RUNS, in_runs, [run_manifest() for _ in range(CROWD)])
        await settled(operator)
        return runs, jobs, await spent(server, operator) - before, await told(server, in_runs) - events

    runs, jobs, cost, events = api(measure)
    show(
        f"{CROWD:,} at once on {NODES} simulated nodes",
        ["", "wall s", "to baseline", "median s", "to baseline"],
        [_both("PipelineRuns", runs, jobs), _both("bare Jobs (baseline)", jobs, jobs)],
    )
    show_cost(f"What the operator spent on each of these {CROWD:,} runs", cost, events, CROWD)
    show("The operator's memory after them", ["RSS MiB", "at most"], [[f"{operator.rss_mib():.0f}", "150"]])
    assert cost.writes <= MOST_WRITES * CROWD
    assert events <= MOST_EVENTS * CROWD
    assert cost.reconciles <= MOST_RECONCILES * CROWD


async def finish(server: ApiServer, run: Json, status: Json) -> None:
    await server.request("POST", RUNS.path(NAMESPACE), run)
    path = f"{RUNS.path(NAMESPACE)}/{run['metadata']['name']}/status"
    await server.request("PATCH", path, {"status": status})


def scale(cluster: Installation, replicas: int) -> None:
    cluster.kubectl("scale", "deployment/pipelines-operator", f"--replicas={replicas}")
    if replicas == 0:
        cluster.kubectl("wait", "pod", f"--selector={OPERATOR}", "--for=delete", "--timeout=60s")


def test_history(api: Any, cluster: Installation) -> None:
    """The objects are made with their final status while no operator runs: it finds them as after a restart."""
    port = State(cluster.paths.state).port("operator")

    async def make(server: ApiServer) -> None:
        sample = run_manifest()
        await server.timed(RUNS, NAMESPACE, [sample])
        status = (await server.request("GET", f"{RUNS.path(NAMESPACE)}/{sample['metadata']['name']}"))["status"]
        scale(cluster, 0)
        await at_once([run_manifest() for _ in range(HISTORY)], lambda run: finish(server, run, status))

    async def observe() -> list[list[str]]:
        async with asyncio.timeout(120):
            while not is_ready(port):  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.1)
        operator = the_operator(cluster)
        async with asyncio.timeout(120):  # a process that stands by is ready too
            while not (operator.counter("pipelines_leader") and is_ready(port)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            ready = operator.age_seconds()
            while operator.counter(WATCHED) < HISTORY or operator.counter("pipelines_queue_depth"):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        seen = operator.age_seconds()
        used = await calm(operator)
        began, before = time.monotonic(), operator.cpu_seconds()
        await asyncio.sleep(IDLE_SECONDS)
        share = (operator.cpu_seconds() - before) / (time.monotonic() - began)
        return [
            ["process start to leading and ready", f"{ready:.1f} s", "20 s"],
            ["process start to having seen them all", f"{seen:.1f} s", "20 s"],
            ["CPU until idle", f"{used:.1f} s", ""],
            [f"CPU when idle, over {IDLE_SECONDS} s", f"{100 * share:.2f} % of a core", "1 %"],
            ["RSS", f"{operator.rss_mib():.0f} MiB", "180 MiB"],
            ["RSS, peak", f"{operator.peak_rss_mib():.0f} MiB", ""],
        ]

    try:
        api(make)
        scale(cluster, 1)
        rows = asyncio.run(observe())
    finally:
        scale(cluster, 1)
        api(lambda server: server.clear(NAMESPACE))
    show(f"With {HISTORY:,} finished runs", ["", "", "at most"], rows)
