"""Every way in which a run can fail ends it: in the right phase, with words that say what to do, with nothing alive.

What it may wait for without an end stands in test_waits_that_end.py. Each prints how long it took (`pytest -s`).
"""

import pytest

from pipeline_core.store.runs import StoredRun
from pipeline_local.kubeconfig import NAMESPACE
from support.endings import ended, waits
from support.installation import Installation, manifest, noop
from support.obstacles import watched
from support.victims import Node


def pod_of(installation: Installation, name: str) -> str:
    """The name of the run's live pod, once its container runs."""
    run_id = installation.await_phase(name, "Running")["status"]["runId"]
    return installation.live_pods(run_id)[0]


# How a runner can end by itself.


@pytest.mark.parametrize(
    ("fail", "reason", "words"),
    [
        pytest.param("data", "ProcessorFailed", ("NoopProcessor: told to fail: data",), marks=pytest.mark.full),
        ("internal", "ProcessorFailed", ("NoopProcessor: RuntimeError: told to fail: internal",)),
        pytest.param("config", "ProcessorFailed", ("NoopProcessor: told to fail: config",), marks=pytest.mark.full),
    ],
)
def test_what_another_attempt_would_not_mend_is_tried_once(
    installation: Installation, fail: str, reason: str, words: tuple[str, ...]
) -> None:
    with installation.run(f"e2e-fail-{fail}", **noop(fail=fail), maxRetries=2) as name:
        assert ended(installation, name, reason, *words)["attempts"] == 1


@pytest.mark.full
@pytest.mark.parametrize(
    ("fail", "reason", "words"),
    [
        ("transient", "ProcessorFailed", ("NoopProcessor: told to fail: transient",)),
        ("exit", "NoOutcome", ("code 3", "kubectl logs")),
    ],
)
def test_what_another_attempt_may_mend_is_tried_again(
    installation: Installation, fail: str, reason: str, words: tuple[str, ...]
) -> None:
    with installation.run(f"e2e-fail-{fail}", **noop(fail=fail), maxRetries=1) as name:
        waits(installation, name, "told to fail: transient" if fail == "transient" else "code 3")
        assert ended(installation, name, reason, *words)["attempts"] == 2


def test_a_runner_over_its_memory_limit_fails_saying_so(installation: Installation) -> None:
    with installation.run("e2e-memory", **noop(fail="memory"), maxRetries=0) as name:
        ended(installation, name, "OutOfMemory", "memory", "limit", "runner.resources")


def test_a_runner_killed_from_outside_fails_saying_so(installation: Installation) -> None:
    with installation.run("e2e-killed", **noop(seconds=60), maxRetries=0) as name:
        run_id = installation.await_phase(name, "Running")["status"]["runId"]
        Node(installation).container(f"pipelines.dev/run-id={run_id}").kill()
        ended(installation, name, "Killed", "exit code 137", "kubectl describe pod")


def test_a_runner_that_hangs_is_ended_by_the_timeout(installation: Installation) -> None:
    with installation.run("e2e-hangs", **noop(fail="hang"), timeoutSeconds=6) as name:
        status = ended(installation, name, "TimedOut")
    assert status["message"] == "Pipeline execution timed out after 6s"


# What others may do to its pod and its Job.


@pytest.mark.full
def test_a_job_deleted_by_hand_fails_the_run(installation: Installation) -> None:
    with installation.run("e2e-no-job", **noop(seconds=60)) as name:
        status = installation.await_phase(name, "Running")["status"]
        installation.kubectl("delete", "job", status["jobName"], "--wait=false")
        ended(installation, name, "JobDeleted", "Job was deleted")
        assert installation.eventually(lambda: not installation.leftovers(status["runId"]))


@pytest.mark.full
def test_a_pod_deleted_by_hand_is_replaced(installation: Installation) -> None:
    with installation.run("e2e-no-pod", **noop(seconds=5, rows=7), maxRetries=1) as name:
        installation.kubectl("delete", "pod", pod_of(installation, name), "--wait=false")
        status = ended(installation, name, "Completed", "7 records", phase="Completed")
    assert status["attempts"] == 2


@pytest.mark.full
def test_a_pod_deleted_by_hand_without_a_retry_left_fails_the_run(installation: Installation) -> None:
    with installation.run("e2e-last-pod", **noop(seconds=60), maxRetries=0) as name:
        installation.kubectl("delete", "pod", pod_of(installation, name), "--wait=false")
        ended(installation, name, "Killed", "told to stop")


@pytest.mark.full
def test_an_evicted_pod_is_replaced_without_using_up_a_retry(installation: Installation) -> None:
    with installation.run("e2e-evicted", **noop(seconds=5), maxRetries=0) as name:
        pod = pod_of(installation, name)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": NAMESPACE}}
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
        installation.kubectl("create", f"--raw={path}", "--filename=-", manifest=eviction)
        ended(installation, name, "Completed", phase="Completed")


@pytest.mark.full
def test_a_pod_that_the_kubelet_evicts_for_good_fails_the_run(installation: Installation) -> None:
    with installation.run("e2e-pressure", **noop(seconds=60), maxRetries=0) as name:
        pod = pod_of(installation, name)
        kubelet = Node(installation).component("kubelet")
        kubelet.freeze()  # it would take back what is said in its name
        try:
            patch = {"status": {"phase": "Failed", "reason": "Evicted"}}
            installation.patch("pod", pod, patch, "--subresource=status")
            ended(installation, name, "Evicted", "evicted", f"kubectl describe pod {pod}")
            installation.kubectl("delete", "pod", pod, "--wait=false")
        finally:
            kubelet.thaw()


# What may happen to the node; there is only one, so everything else on it goes as well.


@pytest.mark.full
def test_a_run_on_a_drained_node_waits_for_another_and_completes(installation: Installation) -> None:
    taint = "pipelines.dev/drained=true:NoExecute"
    with installation.run("e2e-drained", **noop(seconds=10), maxRetries=0) as name:
        before = pod_of(installation, name)
        installation.kubectl("taint", "nodes", "--all", taint)
        try:
            installation.kubectl("wait", "--for=delete", f"pod/{before}", "--timeout=60s")
        finally:
            installation.kubectl("taint", "nodes", "--all", f"{taint}-")
            _await_installation(installation)
        ended(installation, name, "Completed", phase="Completed", seconds=150)


@pytest.mark.full
def test_a_run_on_a_node_that_is_gone_waits_for_another_and_completes(installation: Installation) -> None:
    # longer than a lost node's pods stay: the garbage collector gives them 40 s, and looks every 20
    with installation.run("e2e-no-node", **noop(seconds=80), maxRetries=0) as name:
        before = pod_of(installation, name)
        node = installation.kubectl.read("nodes")["items"][0]
        installation.kubectl("delete", "node", node["metadata"]["name"])
        try:
            installation.kubectl("wait", "--for=delete", f"pod/{before}", "--timeout=120s")
        finally:
            for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
                node["metadata"].pop(field, None)
            installation.kubectl("create", "--filename=-", manifest=node)
            _await_installation(installation)
        ended(installation, name, "Completed", phase="Completed", seconds=200)


def _await_installation(installation: Installation) -> None:
    installation.eventually(lambda: installation.kubectl.attempt("get", "pods").returncode == 0, seconds=60)
    for part in ("dev-services", "operator", "exporter"):
        installation.kubectl("rollout", "status", f"deployment/pipelines-{part}", "--timeout=180s")


@pytest.mark.full
def test_a_run_in_a_namespace_that_is_deleted_counts_as_cancelled(installation: Installation) -> None:
    with watched(installation, "e2e-doomed") as kubectl:
        kubectl("apply", "--filename=-", manifest=manifest("e2e-doomed", **noop(seconds=60)))
        kubectl("wait", "plr/e2e-doomed", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
        run_id = kubectl.read("plr", "e2e-doomed")["status"]["runId"]
        kubectl("delete", "namespace", "e2e-doomed", "--timeout=120s")
        record = installation.eventually(lambda: _if_ended(installation.record(run_id)))
        assert (record.phase, record.reason) == ("Cancelled", "Cancelled")
        # what isn't there any more doesn't hold up the rest
        with installation.run("e2e-elsewhere", **noop()) as name:
            ended(installation, name, "Completed", phase="Completed")


def _if_ended(record: StoredRun | None) -> StoredRun | None:
    return record if record is not None and record.phase.is_final else None
