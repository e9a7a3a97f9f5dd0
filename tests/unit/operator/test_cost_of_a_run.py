"""What one run costs the API server and the operator, with every event of a real run coming by itself.

A real queue merges news that comes close together, so this is the most that a run takes.
"""

from typing import Any

import pytest

from pipeline_core.kube import names
from pipeline_core.outcome import Outcome
from pipeline_operator.expectations import Expectations
from pipeline_operator.intake import Intake
from support.operator_world import World

MOST_WRITES, MOST_EVENTS, MOST_RECONCILES = 5, 3, 10
GOOD = Outcome(status="succeeded", records_processed=42)
BEGAN = {"startedAt": "2026-11-22T03:00:01Z"}
SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-22T03:00:00Z"}


class Watched:
    """The world, whose watches show each change at once; counts the reconciles that follow."""

    def __init__(self) -> None:
        self.world = World()
        self.reconciles = 0
        self._woken: set[str] = set()
        expectations = Expectations([], 60.0, lambda: 0.0)
        self._intake = Intake(self.world.cache, self._woken.add, expectations)

    async def see(self, plural: str, body: dict[str, Any]) -> None:
        """Something changes, its event comes, and so do those of what the operator then does."""
        self.world.pass_time(0.1)
        self._intake.take(plural, self.world.kubernetes.put(plural, body), gone=False)
        while self._woken:
            uid = self._woken.pop()
            self.reconciles += 1
            await self.world.reconciler.reconcile(uid)
            for mine in (names.RUNS, "jobs"):
                self._intake.take(mine, self.only(mine), gone=False)

    def only(self, plural: str) -> dict[str, Any]:
        """The one object of its kind."""
        (found,) = [body for (kind, _, _), body in self.world.kubernetes.objects.items() if kind == plural]
        return found


@pytest.fixture
async def run() -> Watched:
    """The events of a run on a real node."""
    run = Watched()
    run.world.apply()
    await run.see(names.RUNS, run.only(names.RUNS))
    job = run.only("jobs")
    metadata = {"name": "a", "namespace": "default", **job["spec"]["template"]["metadata"]}
    ended = {**BEGAN, "finishedAt": "2026-11-22T03:00:02Z", "exitCode": 0, "message": GOOD.to_message()}

    async def pod(status: dict[str, Any]) -> None:
        await run.see("pods", {"metadata": metadata, "status": status})

    async def counts(**status: Any) -> None:
        await run.see("jobs", {**job, "status": status})

    await pod({"phase": "Pending"})
    await counts(active=1, ready=0)
    await pod({"phase": "Pending", "conditions": [SCHEDULED]})
    await pod({"conditions": [SCHEDULED], **_container("Pending", {"waiting": {"reason": "ContainerCreating"}})})
    await pod({"conditions": [SCHEDULED], **_container("Running", {"running": BEGAN})})
    await counts(active=1, ready=1)
    await pod({"conditions": [SCHEDULED], **_container("Running", {"terminated": ended})})
    await pod({"conditions": [SCHEDULED], **_container("Succeeded", {"terminated": ended})})
    await counts(active=1, ready=0)
    await counts(succeeded=1, uncountedTerminatedPods={"succeeded": ["a"]})
    await counts(succeeded=1, conditions=[{"type": "SuccessCriteriaMet", "status": "True"}])
    await counts(
        succeeded=1, conditions=[{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
    )
    assert run.world.status()["phase"] == "Completed"
    return run


def _container(phase: str, state: dict[str, Any]) -> dict[str, Any]:
    return {"phase": phase, "containerStatuses": [{"name": names.RUNNER_CONTAINER, "state": state}]}


async def test_reconciles(run: Watched) -> None:
    assert run.reconciles <= MOST_RECONCILES


async def test_writes(run: Watched) -> None:
    assert len(run.world.kubernetes.writes()) <= MOST_WRITES


async def test_events(run: Watched) -> None:
    events = [path for method, path in run.world.kubernetes.calls if method == "POST" and path.endswith("/events")]
    assert len(events) <= MOST_EVENTS
