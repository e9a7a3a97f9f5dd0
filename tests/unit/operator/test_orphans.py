"""No pod outlives its run: Jobs deleted without their pods, and runs that went with their namespace."""

import pytest

from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from support.fake_kubernetes import fails_job, no_faults
from support.hostile_world import orphan
from support.operator_world import World


async def test_no_pod_outlives_a_run_that_failed_as_its_job_was_deleted(world: World) -> None:
    uid = await world.running()
    orphan(world)
    for _ in range(5):
        await world.reconcile(uid)
        world.pass_time(60)
    assert not (world.status()["phase"] == "Failed" and [k for k in world.kubernetes.objects if k[0] == "pods"])


async def test_a_cancel_ends_an_orphaned_pod(world: World) -> None:
    uid = await world.running()
    world.run()["spec"]["cancel"] = True
    world.kubernetes.put("pipelineruns", world.run())
    orphan(world)
    for _ in range(10):
        await world.reconcile(uid)
        world.stop_deleted_pods()
        world.pass_time(3600)
    assert world.status()["phase"] == "Cancelled"


async def test_no_second_pod_starts_while_one_of_a_job_that_was_never_told_of_lives(world: World) -> None:
    uid = await world.running()
    orphan(world)
    world.run()["status"] = {}  # the process had died before it could write the Job's name
    world.start_operator()
    for _ in range(3):
        await world.reconcile(uid)
    assert not [key for key in world.kubernetes.objects if key[0] == "jobs"]
    world.stop_deleted_pods()
    await world.reconcile(uid)
    assert [key for key in world.kubernetes.objects if key[0] == "jobs"]


async def test_a_run_deleted_while_its_orphaned_job_is_looked_at_is_not_failed(world: World) -> None:
    uid = world.apply()
    world.kubernetes.after = fails_job(KubeUnavailableError("connection lost"))
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)

    def deleted(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/jobs"):  # kubectl delete pipelinerun --cascade=orphan
            job = next(body for key, body in world.kubernetes.objects.items() if key[0] == "jobs")
            job["metadata"]["ownerReferences"] = []
            world.kubernetes.remove("pipelineruns", "default", "billing")

    world.kubernetes.before = deleted
    world.kubernetes.after = no_faults
    await world.reconciler.reconcile(uid)
    assert world.record(uid).phase is not Phase.FAILED


@pytest.mark.parametrize("namespace_is_there", [True, False])
async def test_a_run_that_went_with_its_namespace_and_the_rights_in_it(world: World, namespace_is_there: bool) -> None:
    uid = await world.running()
    world.end_pods(Outcome(status="failed", error="Extractor: throttled"), exit_code=75, reason="Error")
    world.watch()
    world.kubernetes.objects.clear()
    world.watch()
    if namespace_is_there:
        world.kubernetes.objects["namespaces", "", "default"] = {"metadata": {"name": "default"}}

    def before(method: str, path: str) -> None:
        if "/namespaces/default/" in path:
            raise KubeError(403, "Forbidden", "no rights")

    world.kubernetes.before = before
    if namespace_is_there:
        with pytest.raises(KubeError):
            await world.reconciler.reconcile(uid)
        assert not world.record(uid).phase.is_final
    else:
        await world.reconciler.reconcile(uid)
        assert world.record(uid).phase is Phase.CANCELLED
