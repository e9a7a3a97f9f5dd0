"""Slots that are held by nothing are given back, those that are held by something aren't, whatever can't be read."""

import asyncio
from datetime import timedelta

import pytest

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.observed import Published
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from pipeline_core.store.runs import NewRun
from support.fake_kubernetes import fails_job
from support.operator_world import World

GOOD = Outcome(status="succeeded", records_processed=42)
ORG, HOLDER = "acme", "billing"


@pytest.fixture
def world() -> World:
    """One slot."""
    world = World()
    world.allow(1)
    return world


async def reserved(world: World) -> str:
    """A run that has its slot and its Job, and a pod."""
    uid = await world.running()
    assert world.holders() == [HOLDER]
    return uid


def lose_release(world: World) -> None:
    """The slot stays held though the run has ended: the process died in between."""
    for row in world.ledger.rows.values():
        row.held = True


def is_gone(world: World, namespace: str = "default") -> None:
    """The namespace goes with all that is in it, and the operator's rights there."""
    for key in [key for key in world.kubernetes.objects if key[1] == namespace]:
        del world.kubernetes.objects[key]

    def refused(method: str, path: str) -> None:
        if f"/namespaces/{namespace}/" in path:
            raise KubeError(403, "Forbidden", "no rights in the namespace")

    world.kubernetes.before = refused


async def reserve_without_object(world: World, *, name: str | None = None) -> None:
    """What somebody reserves who is about to make the object."""
    await world.ledger.reserve(
        NewRun(
            run_id="run_asked",
            org_slug=ORG,
            provider="gcp",
            domain="cost",
            pipeline="billing",
            created_at=world.now(),
            created_by="somebody",
            parameters={},
            object_namespace="default" if name else None,
            object_name=name,
        )
    )


async def test_a_slot_of_a_finished_run_is_given_back(world: World) -> None:
    uid = await reserved(world)
    world.end_pods(GOOD)
    await world.reconcile(uid)
    assert world.holders() == []
    lose_release(world)
    world.start_operator()
    world.watch()
    await world.healing.round()
    assert world.holders() == []


async def test_not_while_a_pod_of_it_lives_and_then_at_once(world: World) -> None:
    uid = await reserved(world)
    pod = next(body["metadata"]["uid"] for key, body in world.kubernetes.objects.items() if key[0] == "pods")
    world.cache.put_published(world.status()["runId"], Published(pod, 42, 1.5, world.now()))
    await world.reconcile(uid)
    assert world.status()["phase"] == "Completed"
    world.start_operator()
    world.watch()
    world.pass_time(3600)
    await world.healing.round()
    assert world.holders() == [HOLDER]
    world.end_pods(GOOD)
    await world.reconcile(uid)
    assert world.holders() == []


async def test_a_run_whose_event_was_lost_is_woken(world: World) -> None:
    world.kubernetes.before = fails_job(KubeUnavailableError("connection lost"))
    uid = world.apply()
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.start_operator()
    await world.healing.round()
    assert world.woken == [uid]
    assert world.cache.get(uid).holds_slot


async def test_a_slot_of_a_live_run_is_kept_however_old(world: World) -> None:
    uid = await reserved(world)
    world.pass_time(86_400)
    await world.healing.round()
    world.start_operator()
    await world.healing.round()  # before the watches have shown anything
    assert world.holders() == [HOLDER]
    world.watch()
    await world.healing.round()
    assert world.cache.get(uid).holds_slot


async def test_a_slot_of_a_run_that_has_no_job_yet_is_kept(world: World) -> None:
    world.kubernetes.before = fails_job(KubeUnavailableError("connection lost"))
    uid = world.apply()
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.pass_time(3600)
    world.start_operator()
    await world.healing.round()
    assert world.holders() == [HOLDER]


@pytest.mark.parametrize(("age", "held"), [(59, [HOLDER]), (61, [])])
async def test_a_slot_of_a_run_whose_object_is_gone_waits_a_minute_for_the_end_of_its_record(
    world: World, age: int, held: list[str]
) -> None:
    await reserved(world)
    for key in [key for key in world.kubernetes.objects if key[0] in {names.RUNS, "jobs", "pods"}]:
        del world.kubernetes.objects[key]
    world.start_operator()
    world.pass_time(age)
    await world.healing.round()
    assert world.holders() == held


async def test_a_slot_whose_object_is_gone_and_whose_pod_lives_is_kept(world: World) -> None:
    await reserved(world)
    for key in [key for key in world.kubernetes.objects if key[0] in {names.RUNS, "jobs"}]:
        del world.kubernetes.objects[key]
    world.start_operator()
    world.pass_time(3600)
    await world.healing.round()
    assert world.holders() == [HOLDER]


async def test_a_slot_of_a_namespace_that_is_gone_is_given_back(world: World) -> None:
    await reserved(world)
    is_gone(world)
    world.start_operator()
    world.pass_time(61)
    await world.healing.round()
    assert world.holders() == []


async def test_one_in_a_namespace_without_rights_is_kept_and_keeps_no_other(world: World) -> None:
    world.allow(2)
    uid = await reserved(world)
    world.apply("other")
    await world.reconcile(world.run("other")["metadata"]["uid"])
    world.kubernetes.put("namespaces", {"metadata": {"name": "default", "namespace": ""}})
    world.start_operator()
    for row in world.records.rows.values():
        if row["object_uid"] != uid:
            row["object_namespace"] = "elsewhere"  # which isn't there at all

    def refused(method: str, path: str) -> None:
        if "/namespaces/default/" in path or "/namespaces/elsewhere/" in path:
            raise KubeError(403, "Forbidden", "no rights in the namespace")

    world.kubernetes.before = refused
    world.pass_time(61)
    await world.healing.round()
    assert world.holders() == [HOLDER]


@pytest.mark.parametrize(("age", "held"), [(59, 1), (61, 0)])
async def test_a_record_without_an_object_ends_after_a_minute_and_costs_nothing(
    world: World, age: int, held: int
) -> None:
    await reserve_without_object(world, name="asked")
    world.pass_time(age)
    await world.healing.round()
    assert world.ledger.usage(ORG).concurrent == held
    assert world.ledger.usage(ORG).day_used == held
    record = await world.records.get("run_asked")
    assert record is not None
    assert record.phase is (Phase.PENDING if held else Phase.FAILED)


async def test_unless_its_object_is_there_and_was_not_seen_yet(world: World) -> None:
    await reserve_without_object(world, name="asked")
    world.apply("asked", runId="run_asked")
    world.pass_time(61)
    await world.healing.round()
    assert world.ledger.usage(ORG).concurrent == 1


@pytest.mark.parametrize("spec", [{"runId": "run_another"}, {}, {"runId": "run_asked", "org": "brook"}])
async def test_another_runs_object_of_its_name_keeps_no_slot(world: World, spec: dict[str, str]) -> None:
    await reserve_without_object(world, name="asked")
    world.apply("asked", **spec)
    world.pass_time(61)
    await world.healing.round()
    assert world.ledger.usage(ORG).concurrent == 0
    record = await world.records.get("run_asked")
    assert record is not None
    assert record.error_message == "The PipelineRun that this run was asked for with was never made"


async def test_a_slot_without_any_record_is_given_back_after_a_minute(world: World) -> None:
    await reserve_without_object(world)
    world.records.rows.clear()
    world.pass_time(59)
    await world.healing.round()
    assert world.ledger.usage(ORG).concurrent == 1
    world.pass_time(2)
    await world.healing.round()
    assert world.ledger.usage(ORG).concurrent == 0


async def test_nobody_is_refused_for_a_slot_that_is_held_by_nothing(world: World) -> None:
    uid = await reserved(world)
    world.end_pods(GOOD)
    await world.reconcile(uid)
    lose_release(world)
    second = world.apply("second")
    await world.reconcile(second)
    assert world.holders() == ["second"]


async def test_nor_is_who_asks_while_that_is_being_looked_up(world: World) -> None:
    uid = await reserved(world)
    world.end_pods(GOOD)
    await world.reconcile(uid)
    lose_release(world)
    held = world.ledger.held

    async def slowly(**options: object) -> object:
        await asyncio.sleep(0)
        return await held(**options)  # type: ignore[arg-type]

    world.ledger.held = slowly  # type: ignore[assignment,method-assign]
    assert await asyncio.gather(world.healing.heal(ORG), world.healing.heal(ORG)) == [True, True]


async def test_runs_refused_in_a_burst_are_reason_for_one_look(world: World) -> None:
    await reserved(world)
    asked = 0
    held = world.ledger.held

    async def counted(**options: object) -> object:
        nonlocal asked
        asked += 1
        return await held(**options)  # type: ignore[arg-type]

    world.ledger.held = counted  # type: ignore[assignment,method-assign]
    for number in range(20):
        await world.reconcile(world.apply(f"run-{number}"))
    assert asked == 2  # a page, and that there is no other
    world.time += timedelta(seconds=3)
    await world.reconcile(world.apply("later"))
    assert asked == 4


async def test_a_refusal_does_not_wait_for_an_api_server_that_cannot_be_asked(world: World) -> None:
    """Whose slot can't be looked up is in use."""
    await reserved(world)
    world.start_operator()
    world.cache.put_run(world.kubernetes.put(names.RUNS, {"metadata": {"name": "second"}, "spec": _spec()}))

    def away(method: str, path: str) -> None:
        if method == "GET" and ("/pods" in path or "/jobs" in path):
            raise KubeUnavailableError("connection refused")

    world.kubernetes.before = away
    await world.reconciler.reconcile(world.run("second")["metadata"]["uid"])
    assert world.status("second")["message"] == "Concurrent pipeline limit (1) reached"
    assert world.holders() == [HOLDER]


def _spec() -> dict[str, str]:
    return {"org": ORG, "provider": "gcp", "domain": "cost", "pipeline": "billing"}
