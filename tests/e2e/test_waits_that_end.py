"""What Kubernetes would wait for for ever is told on the run, in Kubernetes' words, and has a deadline.

The tests at the top run under the operator's own deadlines, those at the bottom under short ones. Each prints how long
the end took (`pytest -s`).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from support.endings import ended, waits
from support.installation import Installation, Manifest, noop
from support.obstacles import installed_with, runner_template
from support.refusals import NOT_TODAY, policy, quota, refusing, webhook

START_SECONDS, SCHEDULE_SECONDS = 12, 20
NOWHERE = "localhost:9/nowhere:1"
MISSING_KEY = {"name": "MISSING", "valueFrom": {"configMapKeyRef": {"name": "pipelines-runner", "key": "missing"}}}
SECRET = {
    "volumes": [{"name": "missing", "secret": {"secretName": "e2e-missing"}}],
    "volumeMounts": [{"name": "missing", "mountPath": "/missing"}],
}
REFUSALS = pytest.mark.parametrize(
    ("kind", "documents", "words"),
    [
        ("Job", [quota("count/jobs.batch")], ("exceeded quota: e2e-none", "count/jobs.batch=0")),
        ("Pod", [quota("pods")], ("exceeded quota: e2e-none", "pods=0")),
        ("Job", policy("batch", "jobs", reason="Forbidden"), (NOT_TODAY,)),
        ("Pod", policy("", "pods"), (NOT_TODAY,)),
        ("Job", [webhook()], ("away.pipelines.dev",)),
    ],
    ids=["quota-of-jobs", "quota-of-pods", "policy-on-jobs", "policy-on-pods", "webhook-away"],
)


@pytest.mark.full
@REFUSALS
def test_what_the_cluster_refuses_is_told_and_the_run_goes_on_once_it_is_allowed(
    installation: Installation, kind: str, documents: list[Manifest], words: tuple[str, ...]
) -> None:
    with ExitStack() as runs:
        with refusing(installation, kind, *documents):
            name = runs.enter_context(installation.run("e2e-allowed", **noop()))
            assert waits(installation, name, *words)["phase"] == "Validating"
        ended(installation, name, "Completed", phase="Completed", seconds=150)


@pytest.mark.full
def test_a_job_that_is_refused_for_what_it_is_fails_at_once(installation: Installation) -> None:
    with refusing(installation, "Job", *policy("batch", "jobs")), installation.run("e2e-invalid", **noop()) as name:
        ended(installation, name, "JobRefused", NOT_TODAY, seconds=15)


@pytest.mark.full
@pytest.mark.parametrize(
    ("times", "words"),
    # Kubernetes itself tries once more what etcd finds too large, and then gives another reason.
    [(5, ()), (10, ("too large",))],
    ids=["for-etcd", "for-a-request"],
)
def test_a_job_that_is_too_large_fails_at_once(installation: Installation, times: int, words: tuple[str, ...]) -> None:
    # 2 and 4 MB of environment; YAML's aliases keep the template itself small
    large = {"name": "LARGE", "value": "x" * 400_000}
    with runner_template(installation, env=[large] * times), installation.run("e2e-large", **noop()) as name:
        ended(installation, name, "JobRefused", *words, seconds=15)


@pytest.mark.full
def test_a_job_suspended_by_hand_says_how_to_resume_it_and_goes_on_when_it_is(installation: Installation) -> None:
    with installation.run("e2e-resumed", **noop(seconds=4)) as name:
        job = installation.await_phase(name, "Running")["status"]["jobName"]
        installation.patch("job", job, {"spec": {"suspend": True}})
        waits(installation, name, "suspended", f"kubectl patch job {job}")
        installation.patch("job", job, {"spec": {"suspend": False}})
        ended(installation, name, "Completed", phase="Completed")


@pytest.fixture(scope="module")
def hurried(installation: Installation) -> Iterator[None]:
    """The operator, giving up sooner."""
    start, schedule = f"startDeadlineSeconds={START_SECONDS}", f"scheduleDeadlineSeconds={SCHEDULE_SECONDS}"
    with installed_with(installation, f"operator.{start}", f"operator.{schedule}"):
        yield


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("pull", {"image": NOWHERE, "imagePullPolicy": "IfNotPresent"}, (NOWHERE, "image")),
        pytest.param("never", {"image": NOWHERE, "imagePullPolicy": "Never"}, (NOWHERE,), marks=pytest.mark.full),
        pytest.param("config", {"env": [MISSING_KEY]}, ("pipelines-runner", "missing"), marks=pytest.mark.full),
        pytest.param("volume", SECRET, ("e2e-missing", "not found"), marks=pytest.mark.full),
    ],
)
def test_a_container_that_never_starts_fails_the_run_after_a_deadline(
    hurried: None, installation: Installation, name: str, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    with runner_template(installation, **changes), installation.run(f"e2e-start-{name}", **noop()) as run:
        if name != "volume":
            waits(installation, run, *words)
        status = ended(installation, run, "StartFailed", *words, f"within {START_SECONDS}s")
        assert "startedAt" not in status


@pytest.mark.full
@REFUSALS
def test_what_the_cluster_goes_on_refusing_fails_the_run_after_a_deadline(
    hurried: None, installation: Installation, kind: str, documents: list[Manifest], words: tuple[str, ...]
) -> None:
    reason = "JobRefused" if kind == "Job" else "StartFailed"
    with refusing(installation, kind, *documents), installation.run("e2e-refused", **noop()) as name:
        status = ended(installation, name, reason, *words, f"{SCHEDULE_SECONDS}s")
        assert installation.eventually(lambda: not installation.leftovers(status["runId"]))


@pytest.mark.full
def test_a_run_that_no_node_takes_fails_after_a_deadline(hurried: None, installation: Installation) -> None:
    nowhere = {"pipelines.dev/nowhere": "true"}
    with runner_template(installation, nodeSelector=nowhere), installation.run("e2e-nowhere", **noop()) as name:
        waits(installation, name, "Unschedulable")
        ended(installation, name, "Unschedulable", "node", f"within {SCHEDULE_SECONDS}s")


@pytest.mark.full
def test_a_job_that_stays_suspended_fails_the_run_after_a_deadline(hurried: None, installation: Installation) -> None:
    with installation.run("e2e-suspended", **noop(seconds=60)) as name:
        job = installation.await_phase(name, "Running")["status"]["jobName"]
        installation.patch("job", job, {"spec": {"suspend": True}})
        ended(installation, name, "JobSuspended", "suspended", f"within {START_SECONDS}s")
