"""Whose slot is whose: a run frees its own and no other, however its ask for one ended."""

from typing import Any

import pytest

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeUnavailableError
from pipeline_core.lifecycle.observed import Published
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.runs import NewRun, StoredRun
from pipeline_operator import metrics
from pipeline_operator.cluster import Cluster
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.queue import WorkQueue
from pipeline_operator.sweep import Sweep
from support.fake_kubernetes import fails_job
from support.operator_world import World


@pytest.fixture
def world() -> World:
    return World()


async def first_of_an_id(world: World) -> None:
    """Two runs of one id; the first has its Job and its pod."""
    await world.running("first", runId="run_given")
    assert world.holders() == ["first"]


async def second_whose_ask_got_no_answer(world: World) -> str:
    """It may hold a slot, as far as its process knows."""
    uid = world.apply("second", runId="run_given")

    async def away(record: NewRun) -> StoredRun:
        raise StoreUnavailableError("connection lost")

    reserve = world.ledger.reserve
    world.ledger.reserve = away  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError):
        await world.reconcile(uid)
    world.ledger.reserve = reserve  # type: ignore[method-assign]
    return uid


async def refused(world: World, uid: str) -> None:
    await world.reconcile(uid)


async def cancelled(world: World, uid: str) -> None:
    world.kubernetes.put(names.RUNS, {**world.run("second"), "spec": {**world.run("second")["spec"], "cancel": True}})
    await world.reconcile(uid)


async def deleted(world: World, uid: str) -> None:
    world.kubernetes.remove(names.RUNS, "default", "second")
    await world.reconcile(uid)


@pytest.mark.parametrize("ends", [refused, cancelled, deleted], ids=lambda ends: ends.__name__)
async def test_a_run_whose_id_is_anothers_never_frees_that_ones_slot(world: World, ends: Any) -> None:
    await first_of_an_id(world)
    uid = await second_whose_ask_got_no_answer(world)
    await ends(world, uid)
    for _ in range(2):
        await world.reconcile(uid)
    assert world.holders() == ["first"]


@pytest.mark.parametrize("ends", [cancelled, deleted], ids=lambda ends: ends.__name__)
async def test_a_run_that_ends_before_it_heard_of_its_slot_gives_it_back(world: World, ends: Any) -> None:
    uid = world.apply("second")
    reserve = world.ledger.reserve

    async def not_heard(record: NewRun) -> StoredRun:
        await reserve(record)
        raise StoreUnavailableError("connection lost")

    world.ledger.reserve = not_heard  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError):
        await world.reconcile(uid)
    assert world.holders() == ["second"]
    await ends(world, uid)
    assert world.holders() == []
    if ends is cancelled:  # the exporter says it of the other, whose record has a Job's name
        assert world.ledger.usage("acme").day_used == 0


async def test_a_run_that_was_admitted_never_waits_again(world: World) -> None:
    """Its Job is refused, its process ends, and others wait for the slot that it holds."""
    world.allow(1)
    world.kubernetes.before = fails_job(KubeUnavailableError("connection lost"))
    first = world.apply("first", quotaPolicy="Queue")
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(first)
    second = world.apply("second", quotaPolicy="Queue", priority=9)
    await world.reconcile(second)
    world.start_operator()
    world.kubernetes.before = lambda _method, _path: None
    await world.reconcile(second)
    await world.reconcile(first)
    assert world.holders() == ["first"]
    assert world.status("first")["phase"] == "Validating"
    assert world.status("first")["jobName"]


async def test_a_finished_run_whose_deletion_no_event_told_of_frees_its_slot_and_is_forgotten(world: World) -> None:
    uid = await world.running("first")
    pod = next(body["metadata"]["uid"] for key, body in world.kubernetes.objects.items() if key[0] == "pods")
    world.cache.put_published(world.status("first")["runId"], Published(pod, 42, 1.5, world.now()))
    await world.reconcile(uid)
    world.kubernetes.remove(names.RUNS, "default", "first")
    world.collect_garbage()
    world.collect_garbage()
    cluster, queue = Cluster(world.kubernetes), WorkQueue()
    await Sweep(cluster, world.cache, queue, world.records, Namespaces(cluster, [], "pipelines")).round()
    assert await queue.get() == uid
    await world.reconciler.reconcile(uid)
    assert world.holders() == []
    assert uid not in {entry.vanished.uid for entry in world.cache.entries() if entry.vanished}


async def test_a_slot_counts_once_however_often_it_is_asked_for(world: World) -> None:
    before = metrics.QUOTA_RESERVATIONS._value.get()
    world.kubernetes.before = fails_job(KubeUnavailableError("connection lost"))
    uid = world.apply("first")
    for _ in range(3):
        with pytest.raises(KubeUnavailableError):
            await world.reconcile(uid)
    assert world.holders() == ["first"]
    assert metrics.QUOTA_RESERVATIONS._value.get() == before + 1
