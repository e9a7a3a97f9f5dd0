"""The run's Job: one pod at a time, no token, restricted, and everything the runner needs."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from pipeline_core.credentials.names import CREDENTIALS_PATH, KEYSET_PATH
from pipeline_core.errors import ConfigInvalidError
from pipeline_core.lifecycle.observed import Run, RunSpec
from pipeline_core.run_document import RUN_DOCUMENT_ANNOTATION, RunDocument
from pipeline_operator.manifests import Manifest, build_job
from pipeline_operator.settings import OperatorSettings, RunnerTemplate

T0 = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
RUN = Run(
    "runs", "billing", "uid-1", "run_1", "7", 1, T0, RunSpec("acme", "gcp", "cost", "billing", schedule="nightly")
)
DOCUMENT = RunDocument(
    run_id="run_1",
    org_slug="acme",
    env="dev",
    provider="gcp",
    domain="cost",
    pipeline="billing",
    logical_time=T0,
    parameters={"date": "2026-11-21"},
    config={"processor": {"class": "X", "module": "m"}},
    timeout_seconds=600,
    max_retries=2,
)
TEMPLATE = RunnerTemplate(
    image="r:1", resources={"limits": {"memory": "512Mi"}}, env=[{"name": "PIPELINES_BIGQUERY_PROJECT", "value": "p"}]
)


@pytest.fixture
def job() -> Manifest:
    return build_job(RUN, DOCUMENT, TEMPLATE, progress=("http://operator/progress", "token"))


def test_it_is_owned_by_its_run_and_named_after_its_id(job: Manifest) -> None:
    assert (job["metadata"]["name"], job["metadata"]["namespace"]) == ("run-1", "runs")
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("PipelineRun", "uid-1", True)


def test_job_and_pod_carry_the_labels_that_others_rely_on(job: Manifest) -> None:
    expected = {
        "pipelines.dev/org": "acme",
        "pipelines.dev/provider": "gcp",
        "pipelines.dev/run-id": "run_1",
        "pipelines.dev/schedule": "nightly",
    }
    assert expected.items() <= job["metadata"]["labels"].items()
    assert expected.items() <= job["spec"]["template"]["metadata"]["labels"].items()


def test_a_disruption_is_ignored_before_exit_codes_are_looked_at(job: Manifest) -> None:
    first, second = job["spec"]["podFailurePolicy"]["rules"]
    assert (first["action"], first["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (second["action"], second["onExitCodes"]["values"]) == ("FailJob", [65, 70, 78])
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert (job["spec"]["backoffLimit"], job["spec"]["activeDeadlineSeconds"]) == (2, 600)


def test_the_document_rides_on_the_pod_and_reaches_the_container_as_a_file(job: Manifest) -> None:
    template = job["spec"]["template"]
    document = json.loads(template["metadata"]["annotations"][RUN_DOCUMENT_ANNOTATION])
    assert RunDocument.model_validate(document) == DOCUMENT
    volume = template["spec"]["volumes"][0]["downwardAPI"]["items"][0]
    assert volume == {
        "path": "run.json",
        "fieldRef": {"fieldPath": f"metadata.annotations['{RUN_DOCUMENT_ANNOTATION}']"},
    }
    assert template["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] == "/etc/pipelines"


def test_the_pod_is_restricted_and_has_no_token(job: Manifest) -> None:
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "hostNetwork" not in pod


def test_without_a_progress_address_no_token_is_given(job: Manifest) -> None:
    def names(manifest: Manifest) -> set[str]:
        return {entry["name"] for entry in manifest["spec"]["template"]["spec"]["containers"][0]["env"]}

    assert {"PIPELINES_PROGRESS_URL", "PIPELINES_PROGRESS_TOKEN", "POD_UID"} <= names(job)
    assert "PIPELINES_PROGRESS_TOKEN" not in names(build_job(RUN, DOCUMENT, TEMPLATE, progress=None))


def test_the_request_that_asked_for_it_is_told_to_job_pod_and_runner() -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    asked = replace(RUN, request_id="req-1", traceparent=parent)
    job = build_job(asked, DOCUMENT, TEMPLATE, progress=None)
    told = {"pipelines.dev/request-id": "req-1", "pipelines.dev/traceparent": parent}
    template = job["spec"]["template"]
    for metadata in (job["metadata"], template["metadata"]):
        assert told.items() <= metadata["annotations"].items()
    env = {entry["name"]: entry.get("value") for entry in template["spec"]["containers"][0]["env"]}
    assert (env["PIPELINES_REQUEST_ID"], env["TRACEPARENT"]) == ("req-1", parent)


def secret_volumes(job: Manifest) -> dict[str, tuple[str, Manifest]]:
    """Where each Secret is mounted in the runner's container, by its name."""
    pod = job["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount for container in pod["containers"] for mount in container["volumeMounts"]}
    secrets = {volume["name"]: volume["secret"] for volume in pod["volumes"] if "secret" in volume}
    assert all(mounts[name]["readOnly"] for name in secrets)
    return {each["secretName"]: (mounts[name]["mountPath"], each) for name, each in secrets.items()}


def test_credentials_are_files_of_the_runner_and_may_be_missing() -> None:
    with_secret = DOCUMENT.model_copy(update={"credential_secret": "acme-gcp"})
    job = build_job(RUN, with_secret, TEMPLATE, progress=None)
    path, secret = secret_volumes(job)["acme-gcp"]
    assert path == CREDENTIALS_PATH
    # The runner's user owns no file of a volume, so all may read.
    assert secret == {"secretName": "acme-gcp", "optional": True, "defaultMode": 0o444}
    env = job["spec"]["template"]["spec"]["containers"][0]["env"]
    assert not [entry for entry in env if "secretKeyRef" in entry.get("valueFrom", {})]
    assert len(job["spec"]["template"]["spec"]["containers"]) == 1


def test_the_keyset_is_the_organizations_own() -> None:
    document = DOCUMENT.model_copy(update={"credential_secret": "acme-gcp", "org_slug": "acme_eu"})
    job = build_job(RUN, document, TEMPLATE, keyset_secret="pipelines-keyset-{org}", progress=None)
    mounted = secret_volumes(job)
    assert mounted["pipelines-keyset-acme--eu"][0] == KEYSET_PATH
    assert set(mounted) == {"acme-gcp", "pipelines-keyset-acme--eu"}


def test_a_run_without_credentials_mounts_no_secret_and_its_document_says_nothing_of_one() -> None:
    job = build_job(RUN, DOCUMENT, TEMPLATE, keyset_secret="k-{org}", progress=None)
    assert secret_volumes(job) == {}
    assert "credential" not in job["spec"]["template"]["metadata"]["annotations"][RUN_DOCUMENT_ANNOTATION]


@pytest.mark.parametrize("template", ["pipelines-keyset", "Keys-{org}", "{org}-", "x" * 200 + "{org}"])
def test_a_keyset_for_all_or_without_a_proper_name_is_refused(template: str) -> None:
    with pytest.raises(ValidationError, match="keyset_secret"):
        OperatorSettings(env="dev", keyset_secret=template)


def test_a_field_of_a_later_version_is_told_and_left_out(tmp_path: Path) -> None:
    # While a release is upgraded, operators of the version before read the new file.
    path = tmp_path / "runner.yaml"
    path.write_text("image: r:1\nsomethingNew: {a: 1}\n")
    with capture_logs() as log:
        assert RunnerTemplate.load(path) == RunnerTemplate(image="r:1")
    assert [(line["log_level"], line["fields"]) for line in log] == [("warning", ["somethingNew"])]


@pytest.mark.parametrize("text", ["image: ''", "[]", "", "image: r:1\nhostNetwork: perhaps"])
def test_a_template_that_is_wrong_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "runner.yaml").write_text(text)
    with pytest.raises(ConfigInvalidError, match=r"runner\.yaml: "):
        RunnerTemplate.load(tmp_path / "runner.yaml")


def test_without_a_request_nothing_is_said_of_one(job: Manifest) -> None:
    assert not {"pipelines.dev/request-id", "pipelines.dev/traceparent"} & job["metadata"]["annotations"].keys()
    names = {entry["name"] for entry in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert not {"PIPELINES_REQUEST_ID", "TRACEPARENT"} & names
