"""How long after its tick a schedule's run and its Job are there, beside CronJobs, and what idle schedules cost.

A thousand of each are due in the same minute, on simulated nodes of one cluster; the CronJob controller has no limit
on its calls. The times are those of a watch of this process, by the clock of this machine: objects' timestamps have no
fractions.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.bench_operator import bare_job, template
from pipeline_local.kubeconfig import NAMESPACE
from support.figures import show
from support.installation import Installation
from support.load import JOBS, RUNS, ApiServer, Json, Kind, at_once
from support.measured_operator import calm, the_operator
from support.simulated_nodes import NODES

CROWD = 1_000
MANY = 5_000
IDLE_SECONDS = 90
# So long before the tick everything must be there, and nothing more be going on because of it.
_CALM_SECONDS = 20
_WITHIN_SECONDS = 180

SCHEDULES = Kind("/apis/pipelines.dev/v1alpha1", "pipelineschedules", lambda _: True)
CRON_JOBS = Kind("/apis/batch/v1", "cronjobs", lambda _: True)

pytestmark = pytest.mark.timeout(1200)


def schedule(name: str, cron: str) -> Json:
    """A schedule of the trivial pipeline."""
    return {
        "apiVersion": "pipelines.dev/v1alpha1",
        "kind": "PipelineSchedule",
        "metadata": {"name": name},
        "spec": {"org": "acme", "provider": "demo", "domain": "test", "pipeline": "noop", "cronExpression": cron},
    }


def cron_job(name: str, cron: str, job: Json) -> Json:
    """A CronJob whose Jobs have the same container as a schedule's runs."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"schedule": cron, "timeZone": "Etc/UTC", "jobTemplate": {"spec": bare_job(job)["spec"]}},
    }


class Seen:
    """When a watch showed each object of a kind for the first time, by the wall clock."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.at: dict[str, float] = {}

    async def until(self, server: ApiServer, namespace: str, many: int) -> None:
        """Watch until there are so many."""
        path = self.kind.path(namespace)
        version = (await server.request("GET", path, limit="1"))["metadata"]["resourceVersion"]
        while len(self.at) < many:
            async with aclosing(server.watch(path, version)) as events:
                async for body in events:
                    self.at.setdefault(body["metadata"]["name"], time.time())
                    version = body["metadata"]["resourceVersion"]
                    if len(self.at) >= many:
                        break

    def after(self, tick: datetime) -> list[float]:
        """Seconds from the tick, in their order."""
        return sorted(at - tick.timestamp() for at in self.at.values())


async def due_together(
    server: ApiServer, kind: Kind, namespace: str, manifest: Callable[[str, str], Json], watched: Sequence[Kind]
) -> list[list[float]]:
    """Make a crowd that is due in the same minute; when each object of the watched kinds came, after the tick."""
    tick = next_minute()
    manifests = [manifest(f"crowd-{number:04}", f"{tick.minute} {tick.hour} * * *") for number in range(CROWD)]
    seen = [Seen(each) for each in watched]
    async with asyncio.timeout(_WITHIN_SECONDS + 120), asyncio.TaskGroup() as group:
        for each in seen:
            group.create_task(each.until(server, namespace, CROWD))
        await at_once(manifests, creating(server, kind, namespace))
        left = tick.timestamp() - time.time()
        assert left > _CALM_SECONDS, f"only {left:.0f} s were left until the tick"
    return [each.after(tick) for each in seen]


def creating(server: ApiServer, kind: Kind, namespace: str) -> Callable[[Json], Awaitable[None]]:
    async def create(manifest: Json) -> None:
        await server.request("POST", kind.path(namespace), manifest)

    return create


def next_minute() -> datetime:
    """The first minute before which a crowd can be made, and be quiet."""
    soonest = datetime.now(UTC) + timedelta(seconds=_CALM_SECONDS + 25)
    return soonest.replace(second=0, microsecond=0) + timedelta(minutes=1)


async def ended(server: ApiServer, namespace: str, kind: Kind) -> None:
    """Wait until all are over, so that the next figures are taken on a quiet cluster."""
    async with asyncio.timeout(_WITHIN_SECONDS):
        while not all(map(kind.is_over, (await server.request("GET", kind.path(namespace)))["items"])):  # noqa: ASYNC110
            await asyncio.sleep(2)


async def delete_all(server: ApiServer, kind: Kind, namespace: str) -> None:
    await server.request("DELETE", kind.path(namespace), {"propagationPolicy": "Background"})
    while (await server.request("GET", kind.path(namespace), limit="1"))["items"]:  # noqa: ASYNC110
        await asyncio.sleep(0.5)


def percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[math.ceil(share * len(ordered)) - 1]


def row(name: str, seconds: Sequence[float], baseline: Sequence[float]) -> list[str]:
    p50, p99 = percentile(seconds, 0.5), percentile(seconds, 0.99)
    ratios = [f"{found / percentile(baseline, share):.2f}" for found, share in ((p50, 0.5), (p99, 0.99))]
    return [name, f"{p50:.2f}", ratios[0], f"{p99:.2f}", ratios[1]]


def test_due_together(api: Any, cluster: Installation, on_simulated_nodes: tuple[str, str]) -> None:
    in_runs, in_jobs = on_simulated_nodes

    async def measure(server: ApiServer) -> tuple[list[list[float]], list[float]]:
        job = await template(server, in_runs)
        await server.clear(in_runs)
        (jobs,) = await due_together(server, CRON_JOBS, in_jobs, lambda *named: cron_job(*named, job), [JOBS])
        await ended(server, in_jobs, JOBS)
        await delete_all(server, CRON_JOBS, in_jobs)
        await server.clear(in_jobs)
        await calm(the_operator(cluster))
        ours = await due_together(server, SCHEDULES, in_runs, schedule, [RUNS, JOBS])
        await ended(server, in_runs, RUNS)
        await delete_all(server, SCHEDULES, in_runs)
        return ours, jobs

    (runs, own_jobs), jobs = api(measure)
    show(
        f"{CROWD:,} due in the same minute on {NODES} simulated nodes, from the tick",
        ["", "p50 s", "to baseline", "p99 s", "to baseline"],
        [
            row("PipelineSchedule → PipelineRun", runs, jobs),
            row("PipelineSchedule → Job", own_jobs, jobs),
            row("CronJob → Job (baseline)", jobs, jobs),
        ],
    )
    show("At most, of the baseline's p99", ["PipelineRun", "Job"], [["0.33", "1.20"]])


def test_many_idle(api: Any, cluster: Installation) -> None:
    operator = the_operator(cluster)

    async def share(server: ApiServer) -> float:
        await calm(operator)
        began, before = time.monotonic(), operator.cpu_seconds()
        await asyncio.sleep(IDLE_SECONDS)
        return (operator.cpu_seconds() - before) / (time.monotonic() - began)

    async def measure(server: ApiServer) -> list[list[str]]:
        shares, memory = [await share(server)], [operator.rss_mib()]
        manifests = [schedule(f"many-{number:04}", "0 0 1 1 *") for number in range(MANY)]
        await at_once(manifests, creating(server, SCHEDULES, NAMESPACE))
        shares.append(await share(server))
        memory.append(operator.rss_mib())
        await delete_all(server, SCHEDULES, NAMESPACE)
        return [
            [name, f"{100 * used:.2f} %", f"{rss:.0f} MiB"]
            for name, used, rss in zip(("without (baseline)", f"with {MANY:,}"), shares, memory, strict=True)
        ] + [["at most", "1 %", ""]]

    show(f"The operator, idle over {IDLE_SECONDS} s", ["schedules", "CPU, of a core", "RSS"], api(measure))
