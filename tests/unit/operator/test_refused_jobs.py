"""A Job that the API server refuses: the run says what it waits for, goes on when it may, and ends at its deadline."""

import pytest

from pipeline_core.errors import ConfigInvalidError
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from support.fake_kubernetes import fails_job, no_faults
from support.operator_world import World

QUOTA = KubeError(403, "Forbidden", 'jobs.batch "x" is forbidden: exceeded quota: few')
WEBHOOK = KubeError(500, "InternalError", 'failed calling webhook "w": connection refused')
DENIED = KubeError(403, "Forbidden", 'admission webhook "w" denied the request: no')
ENDING = KubeError(403, "Forbidden", "unable to create new content in namespace default because it is being terminated")


@pytest.fixture
def world() -> World:
    return World()


def refuse(world: World, error: Exception | None) -> None:
    world.kubernetes.before = fails_job(error) if error is not None else no_faults


async def attempt(world: World, uid: str, error: type[Exception] = KubeError) -> None:
    with pytest.raises(error):
        await world.reconcile(uid)


@pytest.mark.parametrize("error", [QUOTA, WEBHOOK, DENIED, ENDING])
async def test_the_wait_is_told_and_ends_at_the_deadline(world: World, error: KubeError) -> None:
    refuse(world, error)
    uid = world.apply()
    await attempt(world, uid)
    assert world.status()["phase"] == "Validating"
    assert error.message in world.status()["message"]
    world.pass_time(899)
    await attempt(world, uid)
    world.pass_time(1)
    await world.reconcile(uid)
    assert world.status()["phase"] == "Failed"
    assert error.message in world.status()["message"]
    reasons = {each["type"]: each["reason"] for each in world.status()["conditions"]}
    assert reasons == {"Admitted": "Admitted", "Succeeded": "JobRefused"}
    assert world.record(uid).error_message == world.status()["message"]


async def test_it_goes_on_once_it_may(world: World) -> None:
    refuse(world, QUOTA)
    uid = world.apply()
    await attempt(world, uid)
    refuse(world, None)
    await world.reconcile(uid)
    world.start_pods()
    await world.reconcile(uid)
    assert world.status()["phase"] == "Running"


async def test_trouble_of_the_api_server_ends_no_run(world: World) -> None:
    refuse(world, KubeUnavailableError("HTTP 503: busy"))
    uid = world.apply()
    await attempt(world, uid, KubeUnavailableError)
    world.pass_time(3600)
    await attempt(world, uid, KubeUnavailableError)
    assert world.status()["phase"] == "Validating"


@pytest.mark.parametrize(
    "error",
    [
        KubeError(413, "RequestEntityTooLarge", "limit is 3145728"),
        KubeError(422, "Invalid", "metadata.annotations: Too long"),
        KubeError(400, "BadRequest", "odd"),
    ],
)
async def test_what_can_never_be_taken_fails_at_once(world: World, error: KubeError) -> None:
    refuse(world, error)
    uid = world.apply()
    await world.reconcile(uid)
    assert world.status()["phase"] == "Failed"
    assert error.message in world.status()["message"]


async def test_a_job_that_is_large_is_refused_with_its_size(world: World) -> None:
    refuse(world, KubeError(422, "Invalid", "spec.selector: `selector` not auto-generated"))
    world.annotations["note"] = "x" * 2**20
    uid = world.apply()
    await world.reconcile(uid)
    assert "refused the run's Job of 10" in world.status()["message"]


async def test_a_template_that_stays_broken_ends_the_run_at_its_deadline(world: World) -> None:
    world.template_error = ConfigInvalidError("runner.yaml: image: Field required")
    uid = world.apply()
    await attempt(world, uid, ConfigInvalidError)
    world.pass_time(900)
    await world.reconcile(uid)
    assert world.status()["message"] == ("The run's Job could not be made for 900s: runner.yaml: image: Field required")
