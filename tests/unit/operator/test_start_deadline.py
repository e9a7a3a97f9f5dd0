"""Deadlines end what they are about: no runner that runs, no wait that has just begun, no later attempt."""

from datetime import UTC, datetime, timedelta

from pipeline_core.kube import names
from pipeline_core.lifecycle.decide import decide
from pipeline_core.lifecycle.observed import Job, Observed, Pod, Run, RunSpec, RunStatus
from pipeline_core.lifecycle.phases import Phase
from support.hostile_world import GOOD
from support.operator_world import World


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
