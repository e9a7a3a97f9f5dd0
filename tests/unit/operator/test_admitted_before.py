"""A run that has its Job goes on, whatever has become of its organization; a stranger's run writes nothing of it."""

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.admission.tenancy import TenancyMode
from pipeline_operator.kube import KubeUnavailableError
from support.fake_kubernetes import fails_job, no_faults
from support.operator_world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("change", ["suspended", "integration off", "limits gone"])
async def test_it_goes_on_where_the_answer_about_its_job_was_lost(world: World, change: str) -> None:
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
    else:
        world.plans.limits["acme"] = Limits(0, 0, 0)
    await world.reconciler.reconcile(uid)
    assert world.status()["phase"] != "Failed"
    world.start_pods()
    await world.reconcile(uid)
    assert world.status()["phase"] == "Running"
    assert world.ledger.usage("acme").concurrent == 1


async def test_a_run_in_another_organizations_namespace_leaves_nothing_with_its_own(world: World) -> None:
    world.tenancy = TenancyMode.NAMESPACE_PER_ORGANIZATION
    world.start_operator()
    labels = {"pipelines.dev/org": "globex"}
    world.kubernetes.put("namespaces", {"metadata": {"name": "default", "namespace": "", "labels": labels}})
    uid = world.apply()
    await world.reconcile(uid)
    status = world.status()
    assert (status["phase"], status["conditions"][0]["reason"]) == ("Failed", "WrongNamespace")
    assert "expected globex" in status["message"]
    assert world.records.rows == {}
    assert world.ledger.rows == {}
