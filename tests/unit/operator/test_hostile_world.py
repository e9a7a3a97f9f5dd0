"""A hostile world: lost and overtaking events, strangers that claim a run's id, crashes, odd objects."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipeline_core.errors import ConfigInvalidError
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.decide import decide
from pipeline_core.lifecycle.observed import Job, Observed, Pod, Progress, Run, RunSpec, RunStatus
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from pipeline_operator.cluster import Cluster
from pipeline_operator.expectations import Expectations
from pipeline_operator.intake import Intake
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.queue import WorkQueue
from pipeline_operator.settings import RunnerTemplate
from pipeline_operator.sweep import Sweep
from pipeline_operator.work import _one
from support.fake_kubernetes import fails_job, no_faults
from support.operator_world import World

GOOD = Outcome(status="succeeded", records_processed=42)


@pytest.fixture
def world() -> World:
    return World()


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


async def test_start_deadline_on_a_stale_pod_kills_a_running_runner(world: World) -> None:
    uid = world.apply()
    await world.reconcile(uid)
    world.start_pods()
    key = next(k for k in world.kubernetes.objects if k[0] == "pods")
    pod = world.kubernetes.objects[key]
    good = pod["status"]
    pod["status"] = {
        "phase": "Pending",
        "containerStatuses": [{"name": "runner", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "m"}}}],
    }
    await world.reconcile(uid)
    pod["status"] = good  # it runs; the pods' watch is behind
    world.kubernetes.put("pods", pod)
    world.pass_time(301)
    await world.reconciler.reconcile(uid)
    assert world.status()["phase"] != "Failed"


async def test_a_run_whose_pod_is_drained_after_the_start_deadline_goes_on(world: World) -> None:
    uid = await world.running()
    name = world.status()["jobName"]
    world.pass_time(1200)
    world.kubernetes.remove("pods", "default", f"{name}-a")  # the next attempt comes in 10 s
    untold = {name: value for name, value in world.status().items() if name not in {"startedAt", "attempts"}}
    world.kubernetes.put(names.RUNS, {**world.run(), "status": untold})  # the object may be behind what was seen
    await world.reconcile(uid)
    assert world.status()["phase"] == "Running"
    assert world.status()["message"] == "Waiting for the Job to make the next attempt's pod"
    assert ("jobs", "default", name) in world.kubernetes.objects
    world.start_pods()
    await world.reconcile(uid)
    world.end_pods(GOOD)
    await world.reconcile(uid)
    assert world.status()["phase"] == "Completed"


async def test_deadline_counts_from_the_beginning_of_the_wait(world: World) -> None:
    uid = world.apply()
    await world.reconcile(uid)
    world.start_pods()
    pod = world.kubernetes.objects[next(k for k in world.kubernetes.objects if k[0] == "pods")]
    pod["status"] = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}],
    }
    await world.reconcile(uid)
    world.pass_time(290)  # the autoscaler brought a node
    scheduled = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": world._stamp()}]
    pod["status"] = {
        "phase": "Pending",
        "conditions": scheduled,
        "containerStatuses": [{"name": "runner", "state": {"waiting": {"reason": "ContainerCreating"}}}],
    }
    world.kubernetes.put("pods", pod)
    await world.reconcile(uid)
    world.pass_time(15)  # the first pull met a hiccup
    pod["status"] = {
        "phase": "Pending",
        "conditions": scheduled,
        "containerStatuses": [{"name": "runner", "state": {"waiting": {"reason": "ErrImagePull", "message": "429"}}}],
    }
    world.kubernetes.put("pods", pod)
    await world.reconcile(uid)
    assert world.status()["phase"] == "Validating"


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


async def test_records_processed_agree_after_a_failure(world: World) -> None:
    uid = await world.running()
    pod = next(b for k, b in world.kubernetes.objects.items() if k[0] == "pods")
    run_id = world.status()["runId"]
    assert world.cache.put_progress(run_id, Progress(pod["metadata"]["uid"], "extract", 40, 5000, world.now()))
    world.pass_time(10)
    await world.reconcile(uid)
    world.end_pods(Outcome(status="failed", error="X: y"), exit_code=78, reason="Error")
    world.fail_jobs("PodFailurePolicy")
    await world.reconcile(uid)
    assert world.status().get("recordsProcessed") == world.record(uid).records_processed


async def test_progress_agrees_during_a_retry(world: World) -> None:
    uid = await world.running()
    pod = next(b for k, b in world.kubernetes.objects.items() if k[0] == "pods")
    run_id = world.status()["runId"]
    world.cache.put_progress(run_id, Progress(pod["metadata"]["uid"], "load", 90, 5000, world.now()))
    world.pass_time(10)
    await world.reconcile(uid)
    world.end_pods(None, exit_code=75, reason="Error")
    second = {
        "metadata": {**pod["metadata"], "name": "second", "uid": "00000000-0000-0000-0000-000000000002"},
        "status": world._pod_status("Running", {"running": {"startedAt": world._stamp()}}),
    }
    del second["metadata"]["creationTimestamp"]
    world.kubernetes.put("pods", second)
    world.watch()
    world.pass_time(10)
    world.cache.put_progress(run_id, Progress(second["metadata"]["uid"], "extract", 10, 3, world.now()))
    await world.reconcile(uid)
    assert world.status()["progress"] == world.record(uid).progress


async def test_a_changing_refusal_is_not_a_hot_loop(world: World) -> None:
    uid = world.apply()
    used = iter(range(10_000))
    clock = [0.0]
    queue = WorkQueue(lambda: clock[0])

    def full(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/jobs"):
            raise KubeError(
                403, "Forbidden", f"exceeded quota: q, requested: pods=1, used: pods={next(used)}, limited: pods=50"
            )

    world.kubernetes.before = full
    queue.add(uid)
    world.cache.put_run(world.run())
    passes = 0
    while queue._due.get(uid, 1e9) <= clock[0] and passes < 200:
        assert await queue.get() == uid
        await _one(queue, world.reconciler.reconcile, uid, {})
        passes += 1
        if world.cache.put_run(world.run()):  # the watch shows our own write, a moment later
            queue.add(uid)
    assert passes <= 2


def test_a_timeout_after_a_retry_ends_now_not_with_the_first_attempt() -> None:
    t = datetime(2026, 11, 22, 3, tzinfo=UTC)
    run = Run(
        "d",
        "n",
        "u",
        "run_x",
        "1",
        1,
        t,
        RunSpec("acme", "gcp", "cost", "billing"),
        RunStatus(Phase.RUNNING, job_name="run-x", started_at=t),
    )
    first = Pod("a", "a", t, "Failed", t, t + timedelta(minutes=5), 75)
    second = Pod("b", "b", t + timedelta(minutes=6), "Running", t + timedelta(minutes=6), deleting=True)
    job = Job("run-x", "j", None, t, 3600, failed=("DeadlineExceeded", ""), attempts=2)
    finish = decide(Observed(run, job, (first, second)), t + timedelta(hours=1)).action
    assert finish.completed_at is None or finish.completed_at >= t + timedelta(hours=1)


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


async def test_a_recorded_end_is_told_as_it_was(world: World) -> None:
    uid = await world.running()
    # crash between the final record and the status, at the start deadline; then the pod started after all
    await world.records.finish(
        world.status()["runId"],
        phase=Phase.FAILED,
        at=world.now(),
        error_message="could not start",
        message="could not start",
    )
    world.start_operator()
    world.pass_time(10)
    await world.reconcile(uid)
    assert world.status()["phase"] == "Failed", "the object goes on though the record is final"


async def test_reason_fits_the_recorded_end(world: World) -> None:
    uid = await world.running()
    await world.records.finish(
        world.status()["runId"],
        phase=Phase.FAILED,
        at=world.now(),
        error_message="could not start",
        message="could not start",
    )
    world.end_pods(GOOD)
    await world.reconcile(uid)
    c = next(c for c in world.status()["conditions"] if c["type"] == "Succeeded")
    assert (c["status"], c["reason"]) != ("False", "Completed")


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


def orphan(world: World) -> None:
    job = world.status()["jobName"]
    world.kubernetes.remove("jobs", "default", job)  # kubectl delete job --cascade=orphan


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


async def test_record_and_object_agree_while_the_namespace_is_full(world: World) -> None:
    uid = world.apply()
    world.kubernetes.before = fails_job(KubeError(403, "Forbidden", "exceeded quota"))
    with pytest.raises(KubeError):
        await world.reconcile(uid)
    assert world.record(uid).phase.value == world.status()["phase"]


async def test_a_failing_webhook_is_told(world: World) -> None:
    uid = world.apply()
    world.kubernetes.before = fails_job(
        KubeUnavailableError('POST: HTTP 500: Internal error occurred: failed calling webhook "x"')
    )
    for _ in range(5):
        with pytest.raises(KubeUnavailableError):
            await world.reconcile(uid)
    assert world.status() != {}


async def test_a_broken_runner_template_is_told(world: World) -> None:
    uid = world.apply()

    def broken() -> RunnerTemplate:
        raise ConfigInvalidError("runner.yaml: image: Field required")

    world.reconciler._starting._jobs._template = broken
    for _ in range(3):
        with pytest.raises(ConfigInvalidError):
            await world.reconcile(uid)
    assert world.status() != {}


async def test_a_cancel_is_told_on_the_object_at_once(world: World) -> None:
    uid = await world.running()
    world.run()["spec"]["cancel"] = True
    world.run()["metadata"]["generation"] = 2
    world.kubernetes.put("pipelineruns", world.run())
    await world.reconcile(uid)
    await world.reconcile(uid)
    assert world.status()["observedGeneration"] == 2


async def test_a_job_refused_run_says_it_was_admitted(world: World) -> None:
    uid = world.apply()
    world.kubernetes.before = fails_job(KubeError(422, "Invalid", "too long"))
    await world.reconcile(uid)
    assert {c["type"] for c in world.status()["conditions"]} == {"Admitted", "Succeeded"}


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


async def test_a_refusal_does_not_fail_a_run_whose_job_an_earlier_call_has_made(world: World) -> None:
    uid = world.apply()
    world.kubernetes.after = fails_job(KubeUnavailableError("connection lost"))
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.kubernetes.after = no_faults
    world.kubernetes.before = fails_job(KubeError(422, "Invalid", "admission webhook denied the request"))
    await world.reconciler.reconcile(uid)  # no event has told of the Job
    assert world.status()["phase"] == "Validating"


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
