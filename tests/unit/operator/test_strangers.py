"""Strangers that claim a run's id, its Job's name or a finalizer take nothing from it and keep nothing alive."""

from typing import Any

import pytest

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from support.fake_kubernetes import fails_job, no_faults
from support.hostile_world import GOOD
from support.operator_world import World


def other_namespace(world: World, **spec: Any) -> str:
    wanted = {"org": "globex", "provider": "gcp", "domain": "cost", "pipeline": "billing", **spec}
    body = {"metadata": {"name": "evil", "namespace": "other"}, "spec": wanted}
    uid: str = world.kubernetes.put(names.RUNS, body)["metadata"]["uid"]
    return uid


async def test_refusal_of_a_stranger_ends_the_victims_record(world: World) -> None:
    victim = await world.running(runId="run_given")
    evil = other_namespace(world, runId="run_given", provider="azure")
    await world.reconcile(evil)
    assert world.record(victim).phase is Phase.RUNNING


async def test_cancel_of_a_stranger_ends_the_victims_record(world: World) -> None:
    victim = await world.running(runId="run_given")
    evil = other_namespace(world, runId="run_given", cancel=True)
    await world.reconcile(evil)
    assert world.record(victim).phase is Phase.RUNNING


async def test_cancel_of_a_stranger_deletes_the_victims_job(world: World) -> None:
    await world.running(runId="run_given")
    evil = world.apply("evil", runId="run_given", org="globex", cancel=True)
    await world.reconcile(evil)
    assert ("jobs", "default", "run-given") in world.kubernetes.objects


async def test_after_that_object_and_data_disagree(world: World) -> None:
    victim = await world.running(runId="run_given")
    await world.reconcile(other_namespace(world, runId="run_given", provider="azure"))
    world.end_pods(GOOD)
    await world.reconcile(victim)
    assert world.status()["phase"] == "Completed"


async def test_a_run_held_by_a_foreign_finalizer_is_stopped(world: World) -> None:
    uid = await world.running()
    world.run()["metadata"]["deletionTimestamp"] = "2026-11-22T03:00:00Z"
    world.run()["metadata"]["finalizers"] = ["someone/else"]
    world.kubernetes.put("pipelineruns", world.run())
    for _ in range(3):
        await world.reconcile(uid)
        world.pass_time(60)
    assert not [k for k in world.kubernetes.objects if k[0] == "jobs"]


async def test_and_its_end_is_recorded(world: World) -> None:
    uid = await world.running()
    world.run()["metadata"]["deletionTimestamp"] = "2026-11-22T03:00:00Z"
    world.run()["metadata"]["finalizers"] = ["someone/else"]
    world.kubernetes.put("pipelineruns", world.run())
    world.end_pods(GOOD)
    for _ in range(3):
        await world.reconcile(uid)
    assert world.record(uid).phase is Phase.COMPLETED


async def test_a_foreign_job_is_not_deleted_when_the_run_is(world: World) -> None:
    uid = world.apply(runId="run_given")
    world.kubernetes.put("jobs", {"metadata": {"name": "run-given"}, "spec": {}})
    world.kubernetes.before = fails_job(KubeUnavailableError("x"))
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.kubernetes.before = no_faults
    world.kubernetes.remove("pipelineruns", "default", "billing")
    await world.reconcile(uid)
    assert ("jobs", "default", "run-given") in world.kubernetes.objects


async def test_a_job_of_another_owner_does_not_hold_the_record_for_ever(world: World) -> None:
    uid = world.apply(runId="run_given")
    world.kubernetes.put(
        "jobs", {"metadata": {"name": "run-given", "ownerReferences": [{"uid": "z", "controller": True}]}, "spec": {}}
    )
    world.kubernetes.before = fails_job(KubeUnavailableError("x"))
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.kubernetes.before = no_faults
    world.kubernetes.remove("pipelineruns", "default", "billing")
    for _ in range(50):
        await world.reconcile(uid)
        world.pass_time(60)
    assert world.record(uid).undecided_since is not None  # for the exporter, which can ask the target
