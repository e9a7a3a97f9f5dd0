"""What happens to Jobs and records whose run is gone, or not seen yet: nothing is lost, kept, or called wrong."""

from datetime import timedelta

import pytest

from pipeline_core.kube import names
from pipeline_core.lifecycle.observed import Published
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import ExitCode, Outcome
from pipeline_operator.final_records import end_of_deleted, end_record
from support.operator_world import World

STOPPED = Outcome(status="terminated", error="Extractor: stopped before it was done")


@pytest.fixture
def world() -> World:
    return World()


class ProcessEndsError(BaseException):
    """Nothing catches it."""


def jobs(world: World) -> list[dict[str, object]]:
    return [body for key, body in world.kubernetes.objects.items() if key[0] == "jobs"]


async def given_up_but_not_stopped(world: World) -> str:
    """A run whose pod never came, and whose operator ended before it could delete the Job; a new one has begun."""
    uid = world.apply()
    await world.reconcile(uid)
    world.pass_time(1200)

    def ends(method: str, _path: str) -> None:
        if method == "DELETE":
            raise ProcessEndsError

    world.kubernetes.before = ends
    with pytest.raises(ProcessEndsError):
        await world.reconcile(uid)
    world.kubernetes.before = lambda _method, _path: None
    assert world.status()["phase"] == "Failed"
    world.start_operator()
    return uid


async def test_a_job_that_is_seen_before_its_finished_run_is_still_stopped(world: World) -> None:
    uid = await given_up_but_not_stopped(world)
    assert world.cache.put_job(jobs(world)[0]) == uid
    await world.reconciler.reconcile(uid)
    world.cache.put_run(world.run())
    await world.reconciler.reconcile(uid)
    assert jobs(world) == []


async def test_so_is_one_whose_run_no_event_ever_shows(world: World) -> None:
    uid = await given_up_but_not_stopped(world)
    world.cache.put_job(jobs(world)[0])
    assert await world.reconciler.reconcile(uid) == 10.0
    while (again := await world.reconciler.reconcile(uid)) == 0.0:
        pass
    assert jobs(world) == []
    assert again is None or again > 60.0  # its expiry


async def test_a_job_whose_owner_is_gone_is_left_to_the_garbage_collector_and_forgotten(world: World) -> None:
    uid = await given_up_but_not_stopped(world)
    world.cache.put_job(jobs(world)[0])
    world.kubernetes.remove(names.RUNS, "default", "billing")
    await world.reconciler.reconcile(uid)
    assert await world.reconciler.reconcile(uid) is None
    assert uid not in world.cache._entries


async def test_a_job_of_an_earlier_run_of_that_name_is_forgotten_too(world: World) -> None:
    uid = await given_up_but_not_stopped(world)
    world.cache.put_job(jobs(world)[0])
    world.kubernetes.remove(names.RUNS, "default", "billing")
    world.apply()
    await world.reconciler.reconcile(uid)
    assert await world.reconciler.reconcile(uid) is None
    assert uid not in world.cache._entries


async def test_a_job_that_is_over_is_not_kept(world: World) -> None:
    uid = await given_up_but_not_stopped(world)
    world.fail_jobs()
    world.cache.put_job(jobs(world)[0])
    assert await world.reconciler.reconcile(uid) is None
    assert uid not in world.cache._entries


async def at_work(world: World) -> tuple[str, str, str]:
    """A run with a live pod: the UIDs of both and the run's id."""
    uid = await world.running()
    pod = next(body for key, body in world.kubernetes.objects.items() if key[0] == "pods")
    return uid, pod["metadata"]["uid"], world.status()["runId"]


async def deleted(world: World, uid: str) -> None:
    """The object goes, and its Job and pods after it; the pods' end is seen."""
    world.watch()
    for key in [key for key in world.kubernetes.objects if key[0] == "jobs"]:
        world.kubernetes.remove(*key)
    await world.reconcile(uid)


@pytest.mark.parametrize("word_first", [True, False])
async def test_a_word_that_comes_around_the_deletion_completes_the_record(world: World, word_first: bool) -> None:
    uid, pod, run_id = await at_work(world)

    def tell() -> str | None:
        return world.cache.put_published(run_id, Published(pod, 42, 9.0, world.now()))

    if word_first:
        assert tell() == uid
    world.kubernetes.remove(names.RUNS, "default", "billing")
    world.watch()
    if not word_first:
        assert tell() == uid
    world.end_pods(None, exit_code=137, reason="Error")
    await deleted(world, uid)
    record = world.record(uid)
    assert (record.phase, record.records_processed) == (Phase.COMPLETED, 42)


@pytest.mark.parametrize(
    ("outcome", "code"), [(STOPPED, ExitCode.TERMINATED), (None, 137)], ids=["stopped", "killed without a word"]
)
@pytest.mark.parametrize("pod_is_there", [True, False])
async def test_a_runner_that_was_stopped_may_have_published(
    world: World, outcome: Outcome | None, code: int, pod_is_there: bool
) -> None:
    uid, _, _ = await at_work(world)
    world.kubernetes.remove(names.RUNS, "default", "billing")
    world.end_pods(outcome, exit_code=code, reason="Error")
    world.watch()
    if not pod_is_there:
        world.collect_garbage()
    await deleted(world, uid)
    record = world.record(uid)
    assert (record.phase, record.undecided_since) == (Phase.RUNNING, world.now())
    assert uid not in world.cache._entries


@pytest.mark.parametrize("pod_is_there", [True, False])
async def test_a_runner_that_says_it_failed_has_not(world: World, pod_is_there: bool) -> None:
    uid, _, _ = await at_work(world)
    world.kubernetes.remove(names.RUNS, "default", "billing")
    world.end_pods(Outcome(status="failed", error="Extractor: throttled"), exit_code=75, reason="Error")
    world.watch()
    if not pod_is_there:
        world.collect_garbage()
    await deleted(world, uid)
    assert world.record(uid).phase is Phase.CANCELLED


@pytest.mark.parametrize("ends", ["stopped", "failed"])
async def test_a_container_that_started_unsaid_has_used_up_its_unit(world: World, ends: str) -> None:
    world.unsaid = timedelta(seconds=10)
    uid = world.apply()
    await world.reconcile(uid)
    world.pass_time(2)
    began = world.now()
    world.start_pods()
    await world.reconcile(uid)
    assert world.record(uid).started_at is None
    world.pass_time(3)
    world.kubernetes.remove(names.RUNS, "default", "billing")
    assert await world.reconcile(uid) == 1.0
    if ends == "failed":
        world.end_pods(Outcome(status="failed", error="Extractor: throttled"), exit_code=75, reason="Error")
        world.watch()
    world.collect_garbage()
    await world.reconcile(uid)
    record = world.record(uid)
    if ends == "stopped":
        assert record.undecided_since == world.now()
        verdict = end_of_deleted(completed=False)
        record = await end_record(world.records, record.run_id, uid, verdict, world.now(), frees=True)
    assert (record.phase, record.started_at) == (Phase.CANCELLED, began)
    assert world.ledger.usage("acme").day_used == 1


async def test_a_container_that_never_started_has_not(world: World) -> None:
    uid = world.apply()
    await world.reconcile(uid)
    world.kubernetes.remove(names.RUNS, "default", "billing")
    await world.reconcile(uid)
    world.collect_garbage()
    await world.reconcile(uid)
    await end_record(
        world.records, world.record(uid).run_id, uid, end_of_deleted(completed=False), world.now(), frees=True
    )
    assert world.record(uid).started_at is None
    assert world.ledger.usage("acme").day_used == 0
