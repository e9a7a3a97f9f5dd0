"""Object and record agree, and tell what holds a run up: through failures, retries, refusals and crashes."""

import pytest

from pipeline_core.errors import ConfigInvalidError
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.observed import Progress
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.outcome import Outcome
from pipeline_operator.queue import WorkQueue
from pipeline_operator.settings import RunnerTemplate
from pipeline_operator.work import _one
from support.fake_kubernetes import fails_job, no_faults
from support.hostile_world import GOOD
from support.operator_world import World


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


async def test_a_refusal_does_not_fail_a_run_whose_job_an_earlier_call_has_made(world: World) -> None:
    uid = world.apply()
    world.kubernetes.after = fails_job(KubeUnavailableError("connection lost"))
    with pytest.raises(KubeUnavailableError):
        await world.reconcile(uid)
    world.kubernetes.after = no_faults
    world.kubernetes.before = fails_job(KubeError(422, "Invalid", "admission webhook denied the request"))
    await world.reconciler.reconcile(uid)  # no event has told of the Job
    assert world.status()["phase"] == "Validating"
