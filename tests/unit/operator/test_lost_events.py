"""Events that are lost, late or overtaken change nothing of a run's end; the sweep finds what none told of."""

import copy

import pytest

from pipeline_core.kube import names
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from pipeline_operator.cluster import Cluster
from pipeline_operator.expectations import Expectations
from pipeline_operator.intake import Intake
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.queue import WorkQueue
from pipeline_operator.sweep import Sweep
from support.hostile_world import GOOD
from support.operator_world import World


def sweep_of(world: World) -> tuple[Sweep, WorkQueue]:
    queue = WorkQueue()
    cluster = Cluster(world.kubernetes)
    return Sweep(cluster, world.cache, queue, world.records, Namespaces(cluster, [], "pipelines")), queue


async def hours_without_events(world: World, uid: str) -> None:
    """The sweep alone tells of what has changed."""
    sweep, _ = sweep_of(world)
    for _ in range(20):
        world.pass_time(3600)
        await sweep.round()
        await world.reconciler.reconcile(uid)


async def test_a_lost_delete_of_the_job_is_found_by_the_resync(world: World) -> None:
    uid = await world.running()
    world.kubernetes.remove("jobs", "default", world.status()["jobName"])
    world.kubernetes.remove("pods", "default", world.status()["jobName"] + "-a")
    await hours_without_events(world, uid)
    assert world.status()["phase"] == "Failed"


async def test_a_cancel_ends_though_the_deletes_were_lost(world: World) -> None:
    uid = await world.running()
    world.run()["spec"]["cancel"] = True
    world.kubernetes.put("pipelineruns", world.run())
    await world.reconcile(uid)
    world.collect_garbage()
    await hours_without_events(world, uid)
    assert world.status()["phase"] == "Cancelled"


async def test_lost_failed_event_of_the_job(world: World) -> None:
    uid = await world.running()
    world.end_pods(Outcome(status="failed", error="X: y"), exit_code=78, reason="Error")
    world.fail_jobs("PodFailurePolicy")
    await hours_without_events(world, uid)
    assert world.status()["phase"] == "Failed"


async def test_job_failure_seen_before_the_pod_keeps_the_runners_words(world: World) -> None:
    uid = await world.running()
    world.end_pods(Outcome(status="failed", error="ExternalBQExtractor: table not found"), exit_code=78, reason="Error")
    world.fail_jobs("PodFailurePolicy")
    job = world.kubernetes.objects["jobs", "default", world.status()["jobName"]]
    world.cache.put_job(job)  # the Jobs' watch is ahead of the pods'
    await world.reconciler.reconcile(uid)
    assert world.status()["message"] == "ExternalBQExtractor: table not found"


async def test_same_after_a_restart_jobs_listed_first(world: World) -> None:
    uid = await world.running()
    world.end_pods(Outcome(status="failed", error="ExternalBQExtractor: table not found"), exit_code=78, reason="Error")
    world.fail_jobs("PodFailurePolicy")
    world.start_operator()
    world.cache.put_run(world.run())
    world.cache.put_job(world.kubernetes.objects["jobs", "default", world.status()["jobName"]])
    await world.reconciler.reconcile(uid)
    assert world.status()["message"] == "ExternalBQExtractor: table not found"


@pytest.mark.parametrize("time", ["2026-01-01t00:00:00z", "0000-01-01T00:00:00Z", "2026-01-01T00:00:00+24:00"])
async def test_one_odd_logical_time_does_not_stop_the_sweep(world: World, time: str) -> None:
    good = world.apply("good")
    world.apply("odd", logicalTime=time)
    sweep, queue = sweep_of(world)
    await sweep.round()
    assert world.cache.get(good).run is not None
    assert queue.depth() >= 1


async def test_a_run_deleted_after_its_runner_succeeded_is_not_cancelled(world: World) -> None:
    uid = await world.running()
    world.end_pods(GOOD)
    world.watch()  # the operator even knows it
    world.kubernetes.remove("pipelineruns", "default", "billing")
    await world.reconcile(uid)
    world.collect_garbage()
    await world.reconcile(uid)
    assert world.record(uid).phase is Phase.COMPLETED


async def test_terminal_pod_seen_only_in_its_deletion_counts(world: World) -> None:
    uid = await world.running()
    world.run()["spec"]["cancel"] = True
    world.kubernetes.put("pipelineruns", world.run())
    await world.reconcile(uid)  # Job deleted; the runner gets SIGTERM after its publish committed and exits 0
    world.end_pods(GOOD)
    pod = next(b for k, b in world.kubernetes.objects.items() if k[0] == "pods")
    world.collect_garbage()
    world.cache.put_pod(pod, gone=True)  # the watch: DELETED, with the last state
    await world.reconciler.reconcile(uid)
    assert world.status()["phase"] == "Completed"


async def test_the_jobs_deleted_event_may_come_before_the_answer(world: World) -> None:
    uid = await world.running()
    world.run()["spec"]["cancel"] = True
    world.kubernetes.put("pipelineruns", world.run())
    job = world.kubernetes.objects["jobs", "default", world.status()["jobName"]]

    def after(method: str, path: str) -> None:
        if method == "DELETE":
            world.cache.put_job(job, gone=True)

    world.kubernetes.after = after
    await world.reconcile(uid)


async def test_an_answer_does_not_replace_a_newer_event(world: World) -> None:
    uid = await world.running()
    pod_key = next(k for k in world.kubernetes.objects if k[0] == "pods")
    # JobDeleted path: make the reconciler look live
    world.cache._entries[uid].job = None

    def after(method: str, path: str) -> None:
        if method == "GET" and path.endswith(
            "/pods"
        ):  # the list was answered; its successor event overtakes the answer
            world.end_pods(GOOD)
            world.cache.put_pod(world.kubernetes.objects[pod_key])

    real = world.kubernetes._get

    def stale(plural, ns, n, query, body):
        return copy.deepcopy(real(plural, ns, n, query, body))

    world.kubernetes._get = stale
    world.kubernetes.after = after
    for _ in range(3):
        await world.reconciler.reconcile(uid)
        world.kubernetes.after = lambda m, p: None
    assert world.status()["phase"] == "Completed"


async def test_a_start_that_was_held_up_reads_live_before_it_creates(world: World) -> None:
    uid = world.apply()
    world.watch()
    world.pass_time(30)
    world.kubernetes.remove("pipelineruns", "default", "billing")  # its event is late or lost
    await world.reconciler.reconcile(uid)
    assert not any(m == "POST" and p.endswith("/jobs") for m, p in world.kubernetes.calls)


async def test_a_finished_run_is_forgotten_though_its_delete_was_lost(world: World) -> None:
    uid = await world.running()
    world.end_pods(GOOD)
    await world.reconcile(uid)
    world.kubernetes.remove("pipelineruns", "default", "billing")  # no event comes of it
    sweep, _ = sweep_of(world)
    await sweep.round()
    assert world.cache.get(uid).run is None


async def test_a_finished_run_still_expires_after_a_sweep(world: World) -> None:
    uid = await world.running(ttlSecondsAfterFinished=3600)
    world.end_pods(GOOD)
    await world.reconcile(uid)
    sweep, _ = sweep_of(world)
    await sweep.round()
    world.pass_time(3600)
    await world.reconciler.reconcile(uid)
    assert (names.RUNS, "default", "billing") not in world.kubernetes.objects


async def test_a_finished_run_that_the_sweep_shows_first_is_woken_for_its_expiry(world: World) -> None:
    uid = await world.running()
    world.end_pods(GOOD)
    await world.reconcile(uid)
    world.start_operator()
    sweep, queue = sweep_of(world)
    await sweep.round()
    assert await queue.get() == uid


async def test_an_end_that_another_operator_wrote_wakes_for_the_expiry(world: World) -> None:
    uid = await world.running()
    woken: list[str] = []
    intake = Intake(world.cache, woken.append, Expectations([], 90.0, lambda: 0.0))
    body = copy.deepcopy(world.run())
    body["metadata"]["resourceVersion"] = str(10**6)
    intake.take(names.RUNS, body, gone=False)
    assert woken == []  # a status that isn't an end is taken for an echo
    body["metadata"]["resourceVersion"] = str(10**6 + 1)
    body["status"] |= {"phase": "Completed", "completedAt": "2026-11-22T03:00:00Z"}
    intake.take(names.RUNS, body, gone=False)
    assert woken == [uid]
