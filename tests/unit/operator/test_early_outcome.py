"""The runner's word that it has published: it completes the run at once, and can do no harm."""

import pytest

from pipeline_core.lifecycle.observed import Published
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from support.operator_world import World

GOOD = Outcome(status="succeeded", records_processed=42)


@pytest.fixture
def world() -> World:
    return World()


async def running(world: World) -> tuple[str, str]:
    """A run with a live pod: the UIDs of both."""
    uid = await world.running()
    return uid, pod_of(world)


def pod_of(world: World) -> str:
    uid: str = next(body for key, body in world.kubernetes.objects.items() if key[0] == "pods")["metadata"]["uid"]
    return uid


def tell(world: World, pod: str, run_id: str | None = None) -> str | None:
    told = Published(pod, 42, 1.5, world.now())
    return world.cache.put_published(run_id or world.status()["runId"], told)


async def test_the_run_is_completed_while_its_pod_still_lives(world: World) -> None:
    uid, pod = await running(world)
    assert tell(world, pod) == uid
    await world.reconcile(uid)
    assert (world.status()["phase"], world.status()["recordsProcessed"]) == ("Completed", 42)
    assert (world.record(uid).phase, world.record(uid).records_processed) == (Phase.COMPLETED, 42)
    assert [key for key in world.kubernetes.objects if key[0] == "jobs"]  # its last second and its log are its own


async def test_told_twice_or_by_the_pods_end_too_it_is_written_once(world: World) -> None:
    uid, pod = await running(world)
    tell(world, pod)
    await world.reconcile(uid)
    ended = dict(world.status())
    tell(world, pod)
    world.end_pods(GOOD)
    await world.reconcile(uid)
    assert world.status() == ended


async def test_a_stranger_to_the_run_says_nothing(world: World) -> None:
    uid, pod = await running(world)
    assert tell(world, "no-such-pod") is None
    assert tell(world, pod, "run_other") is None
    await world.reconcile(uid)
    assert world.status()["phase"] == "Running"


async def test_after_the_pods_end_its_exit_code_counts(world: World) -> None:
    uid, pod = await running(world)
    world.end_pods(None, exit_code=137, reason="Error")
    tell(world, pod)
    await world.reconcile(uid)
    assert world.status()["phase"] == "Running"
    world.fail_jobs()
    await world.reconcile(uid)
    assert world.status()["phase"] == "Failed"


async def test_a_failure_after_it_revises_nothing_and_is_not_tried_again(world: World) -> None:
    uid, pod = await running(world)
    tell(world, pod)
    await world.reconcile(uid)
    world.end_pods(None, exit_code=143, reason="Error")
    await world.reconcile(uid)
    assert world.status()["phase"] == "Completed"
    assert not [key for key in world.kubernetes.objects if key[0] == "jobs"]


async def test_lost_with_the_operator_the_termination_message_says_the_same(world: World) -> None:
    uid, pod = await running(world)
    tell(world, pod)
    world.start_operator()
    world.end_pods(GOOD)
    await world.reconcile(uid)
    assert (world.status()["phase"], world.status()["recordsProcessed"]) == ("Completed", 42)


async def test_a_run_cancelled_meanwhile_has_completed_nevertheless(world: World) -> None:
    uid, pod = await running(world)
    world.run()["spec"]["cancel"] = True
    world.kubernetes.put("pipelineruns", world.run())
    tell(world, pod)
    await world.reconcile(uid)
    assert world.status()["phase"] == "Completed"
