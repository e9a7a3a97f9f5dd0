"""A run that has its Job goes on, whatever has become of its organization; a stranger's run writes nothing of it."""

from typing import Any

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.admission.tenancy import TenancyMode
from pipeline_core.kube.api import KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from support.fake_kubernetes import fails_job, no_faults
from support.operator_world import World


@pytest.fixture
def world() -> World:
    return World()


def label(world: World, org: str) -> None:
    """The namespace becomes this organization's, and what was read of it before is old."""
    namespace: dict[str, Any] = {"name": "default", "namespace": "", "labels": {"pipelines.dev/org": org}}
    world.kubernetes.put("namespaces", {"metadata": namespace})
    world.pass_time(60)


def in_its_own_namespace(world: World) -> None:
    world.tenancy = TenancyMode.NAMESPACE_PER_ORGANIZATION
    world.start_operator()
    label(world, "acme")


@pytest.mark.parametrize("change", ["suspended", "integration off", "limits gone", "namespace relabelled"])
async def test_it_goes_on_where_the_answer_about_its_job_was_lost(world: World, change: str) -> None:
    in_its_own_namespace(world)
    world.kubernetes.after = fails_job(KubeUnavailableError("connection reset"))
    uid = world.apply()
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.kubernetes.after = no_faults
    world.start_operator()  # which knows nothing of the Job before the watch has shown it
    world.cache.put_run(world.run())
    if change == "suspended":
        world.plans.status["acme"] = "SUSPENDED"
    elif change == "integration off":
        world.plans.integrated.clear()
    elif change == "namespace relabelled":
        label(world, "globex")
    else:
        world.plans.limits["acme"] = Limits(0, 0, 0)
    await world.reconciler.reconcile(uid)
    assert world.status()["phase"] != "Failed"
    world.start_pods()
    await world.reconcile(uid)
    assert world.status()["phase"] == "Running"
    assert world.ledger.usage("acme").concurrent == 1


async def test_a_run_in_another_organizations_namespace_leaves_nothing_with_its_own(world: World) -> None:
    in_its_own_namespace(world)
    label(world, "globex")
    uid = world.apply()
    await world.reconcile(uid)
    status = world.status()
    assert (status["phase"], status["conditions"][0]["reason"]) == ("Failed", "WrongNamespace")
    assert "expected globex" in status["message"]
    assert world.records.rows == {}
    assert world.ledger.rows == {}


async def test_one_that_is_cancelled_there_leaves_nothing_either(world: World) -> None:
    in_its_own_namespace(world)
    label(world, "globex")
    await world.reconcile(world.apply(cancel=True))
    assert (world.status()["phase"], world.status()["conditions"][0]["reason"]) == ("Failed", "WrongNamespace")
    assert world.records.rows == {}


async def test_one_that_is_cancelled_at_once_in_its_own_namespace_ends_as_cancelled(world: World) -> None:
    in_its_own_namespace(world)
    uid = world.apply(cancel=True)
    await world.reconcile(uid)
    assert (world.status()["phase"], world.record(uid).phase) == ("Cancelled", Phase.CANCELLED)


async def test_a_run_with_a_job_is_cancelled_whosever_its_namespace_is_by_now(world: World) -> None:
    in_its_own_namespace(world)
    uid = world.apply()
    await world.reconcile(uid)
    label(world, "globex")
    world.kubernetes.put("pipelineruns", {**world.run(), "spec": {**world.run()["spec"], "cancel": True}})
    await world.reconcile(uid)
    world.collect_garbage()
    world.kubernetes.remove("jobs", "default", world.job_of("billing"))
    await world.reconcile(uid)
    assert (world.status()["phase"], world.record(uid).phase) == ("Cancelled", Phase.CANCELLED)


async def test_a_cancelled_run_waits_while_its_namespace_cant_be_read(world: World) -> None:
    in_its_own_namespace(world)

    def away(_method: str, path: str) -> None:
        if path.endswith("/namespaces/default"):
            raise KubeUnavailableError("no answer")

    world.kubernetes.before = away
    uid = world.apply(cancel=True)
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    assert (world.status(), world.records.rows) == ({}, {})
    world.kubernetes.before = no_faults
    await world.reconcile(uid)
    assert world.record(uid).phase is Phase.CANCELLED


async def test_a_run_that_waited_when_its_namespace_became_anothers_ends_with_its_record(world: World) -> None:
    in_its_own_namespace(world)
    world.allow(1)
    await world.reconcile(world.apply("first"))
    uid = world.apply("second", quotaPolicy="Queue")
    await world.reconcile(uid)
    assert world.record(uid).phase is Phase.PENDING
    label(world, "globex")
    await world.reconcile(uid)
    assert (world.status("second")["phase"], world.status("second")["conditions"][0]["reason"]) == (
        "Failed",
        "WrongNamespace",
    )
    record = world.record(uid)
    assert (record.phase, record.error_message) == (Phase.FAILED, world.status("second")["message"])


async def test_a_slot_reserved_before_the_namespace_became_anothers_is_given_back(world: World) -> None:
    in_its_own_namespace(world)
    world.kubernetes.before = fails_job(KubeUnavailableError("connection refused"))
    uid = world.apply()
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.kubernetes.before = no_faults
    assert world.holders() == ["billing"]
    label(world, "globex")
    await world.reconcile(uid)
    assert (world.status()["phase"], world.record(uid).phase) == ("Failed", Phase.FAILED)
    usage = world.ledger.usage("acme")
    assert (usage.concurrent, usage.day_used) == (0, 0)


async def test_another_runs_record_of_that_id_is_left_alone(world: World) -> None:
    in_its_own_namespace(world)
    first = world.apply("first", runId="run_given")
    await world.reconcile(first)
    label(world, "globex")
    second = world.apply("second", runId="run_given")
    await world.reconcile(second)
    assert world.status("second")["phase"] == "Failed"
    assert world.record(first).phase is Phase.VALIDATING
    assert world.holders() == ["first"]
