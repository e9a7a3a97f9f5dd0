"""What a real API server accepts and refuses of runs, and the words it refuses with."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from kubernetes import client

from support.custom_resources import ABSENT, SPEC, Resource, assert_refused, fresh_namespace, with_spec
from support.local_cluster import kubectl

pytestmark = pytest.mark.e2e

FULL = {
    **SPEC,
    "parameters": {"date": "2026-10-01", "days": 3},
    "logicalTime": "2026-10-02T00:00:00Z",
    "scheduleRef": {"name": "nightly", "uid": "0f4c4a3e-5d0a-4c39-9d5b-5a0f1c7d9e21"},
    "priority": 5,
    "timeoutSeconds": 60,
    "maxRetries": 1,
    "quotaPolicy": "Queue",
    "queueTimeoutSeconds": 600,
    "ttlSecondsAfterFinished": 600,
    "runId": "run_0a1b2c",
}


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    with fresh_namespace("test-crds") as name:
        yield name


@pytest.fixture(scope="module")
def runs(namespace: str) -> Resource:
    return Resource(namespace, "PipelineRun")


@pytest.fixture(scope="module")
def stored(runs: Resource) -> Resource:
    """With the run `least`, which has the required fields only, and the run `full`, which has all."""
    runs.create(SPEC, name="least", keep=True)
    runs.create(FULL, name="full", keep=True)
    return runs


def test_the_least_run_gets_its_defaults(runs: Resource) -> None:
    assert runs.create(SPEC)["spec"] == {
        **SPEC,
        "priority": 0,
        "quotaPolicy": "Reject",
        "ttlSecondsAfterFinished": 604800,
        "cancel": False,
    }


def test_status_is_not_taken_from_a_new_object(runs: Resource) -> None:
    assert "status" not in runs.create(SPEC, status={"phase": "Completed"})


@pytest.mark.parametrize(
    "changes",
    [
        FULL,
        {"org": "ab"},
        {"org": "a" * 63},
        {"org": "acme_corp_2"},
        {"pipeline": "p"},
        {"parameters": {}},
        {"parameters": {"days": 2**53, "ratio": "1.5", "full": "true", "text": "x" * 1024, "n" * 63: -1}},
        {"parameters": {f"p{number}": "x" * 1024 for number in range(64)}},
        {"logicalTime": "2026-10-02T02:00:00+02:00"},
        {"ttlSecondsAfterFinished": 0, "maxRetries": 0},
        {"timeoutSeconds": 86400, "maxRetries": 10},
        {"cancel": True},
        {"quotaPolicy": "Queue"},
        {"runId": "run_" + "0" * 48},
    ],
)
def test_run_is_accepted(runs: Resource, changes: Mapping[str, Any]) -> None:
    created = runs.create(with_spec(SPEC, changes))["spec"]
    assert {name: created[name] for name in changes} == changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"org": ABSENT}, ["spec.org: Required value"]),
        ({"provider": ABSENT}, ["spec.provider: Required value"]),
        ({"domain": ABSENT}, ["spec.domain: Required value"]),
        ({"pipeline": ABSENT}, ["spec.pipeline: Required value"]),
        ({"org": "Acme"}, ["spec.org", '"Acme"', "^[a-z][a-z0-9_]{0,61}[a-z0-9]$"]),
        ({"org": "acme-corp"}, ["spec.org", '"acme-corp"']),
        ({"org": "a"}, ["spec.org"]),
        ({"org": "acme\n"}, ["spec.org"]),
        ({"org": "a" * 64}, ["spec.org: Too long: may not be more than 63 bytes"]),
        ({"org": 7}, ["spec.org", "must be of type string"]),
        ({"provider": "GCP"}, ["spec.provider", "^[a-z][a-z0-9_]{0,62}$"]),
        ({"domain": "../cost"}, ["spec.domain"]),
        ({"pipeline": "billing.yml"}, ["spec.pipeline"]),
        ({"pipeline": ""}, ["spec.pipeline"]),
        ({"parameter": {}}, ['unknown field "spec.parameter"']),
        ({"parameters": {"full": True}}, ["spec.parameters.full", "boolean"]),
        ({"parameters": {"ratio": 1.5}}, ["spec.parameters.ratio"]),
        ({"parameters": {"dates": ["2026-10-01"]}}, ["spec.parameters.dates", "array"]),
        ({"parameters": {"date": {"from": "x"}}}, ["spec.parameters.date"]),
        ({"parameters": ["date"]}, ["spec.parameters", "must be of type object"]),
        ({"parameters": {"note": "x" * 10_000}}, ["spec.parameters.note: Too long: may not be more than 1024 bytes"]),
        (
            {"parameters": {f"p{n}": 1 for n in range(65)}},
            ["spec.parameters: Too many: 65: must have at most 64 items"],
        ),
        ({"parameters": {"Start-Date": "x"}}, ["spec.parameters: each name must be a lower-case letter"]),
        ({"parameters": {"n" * 64: "x"}}, ["spec.parameters: each name must be"]),
        ({"parameters": {"": "x"}}, ["spec.parameters: each name must be"]),
        ({"logicalTime": "yesterday"}, ["spec.logicalTime", "date-time"]),
        ({"logicalTime": "2026-13-01T00:00:00Z"}, ["spec.logicalTime"]),
        ({"scheduleRef": {"uid": FULL["scheduleRef"]["uid"]}}, ["spec.scheduleRef.name: Required value"]),  # type: ignore[index]
        ({"scheduleRef": {"name": "Nightly"}}, ["spec.scheduleRef.name"]),
        ({"scheduleRef": {"name": "nightly", "uid": "x"}}, ["spec.scheduleRef.uid"]),
        ({"scheduleRef": {"name": "nightly", "kind": "x"}}, ['unknown field "spec.scheduleRef.kind"']),
        ({"priority": 1001}, ["spec.priority", "less than or equal to 1000"]),
        ({"priority": -1001}, ["spec.priority", "greater than or equal to -1000"]),
        ({"priority": "high"}, ["spec.priority", "must be of type integer"]),
        ({"createdBy": ""}, ["spec.createdBy"]),
        ({"timeoutSeconds": 0}, ["spec.timeoutSeconds", "greater than or equal to 1"]),
        ({"timeoutSeconds": 86401}, ["spec.timeoutSeconds", "less than or equal to 86400"]),
        ({"timeoutSeconds": 1.5}, ["spec.timeoutSeconds", "must be of type integer"]),
        ({"maxRetries": -1}, ["spec.maxRetries", "greater than or equal to 0"]),
        ({"maxRetries": 11}, ["spec.maxRetries", "less than or equal to 10"]),
        ({"quotaPolicy": "Wait"}, ["spec.quotaPolicy", "Reject", "Queue"]),
        ({"queueTimeoutSeconds": 60}, ["spec.queueTimeoutSeconds: only allowed with spec.quotaPolicy Queue"]),
        ({"quotaPolicy": "Queue", "queueTimeoutSeconds": 0}, ["spec.queueTimeoutSeconds"]),
        ({"ttlSecondsAfterFinished": -1}, ["spec.ttlSecondsAfterFinished"]),
        ({"ttlSecondsAfterFinished": 31536001}, ["spec.ttlSecondsAfterFinished"]),
        ({"cancel": "yes"}, ["spec.cancel", "must be of type boolean"]),
        ({"runId": "0a1b2c"}, ["spec.runId", "^run_[a-z0-9]{1,48}$"]),
        ({"runId": "run_" + "0" * 49}, ["spec.runId"]),
    ],
)
def test_run_is_refused(runs: Resource, changes: Mapping[str, Any], words: list[str]) -> None:
    with pytest.raises(client.ApiException) as caught:
        runs.create(with_spec(SPEC, changes))
    assert_refused(caught.value, words)


def test_a_run_needs_a_spec(runs: Resource) -> None:
    with pytest.raises(client.ApiException) as caught:
        runs.create(None)
    assert_refused(caught.value, ["spec: Required value"])


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"phase": "Sleeping"}, ["status.phase", "Pending"]),
        ({"progress": 101}, ["status.progress"]),
        ({"recordsProcessed": -1}, ["status.recordsProcessed"]),
        ({"records": 1}, ['unknown field "status.records"']),
        ({"conditions": [{"type": "Admitted", "status": "Maybe"}]}, ["status.conditions[0].status", "Unknown"]),
        ({"conditions": [{"type": "Admitted", "status": "True"}]}, ["status.conditions[0].reason: Required value"]),
    ],
)
def test_a_wrong_status_is_refused(stored: Resource, status: Mapping[str, Any], words: list[str]) -> None:
    with pytest.raises(client.ApiException) as caught:
        stored.change_status("least", status)
    assert_refused(caught.value, words)


def test_a_whole_status_is_accepted(stored: Resource) -> None:
    times = {"startedAt": "2026-10-02T00:00:01Z", "completedAt": "2026-10-02T00:00:43.5Z"}
    condition = {
        "type": "Succeeded",
        "status": "True",
        "reason": "Completed",
        "message": "",
        "lastTransitionTime": "2026-10-02T00:00:43Z",
        "observedGeneration": 1,
    }
    status = {
        **times,
        "phase": "Completed",
        "runId": "run_0a1b2c",
        "observedGeneration": 1,
        "duration": "42s",
        "recordsProcessed": 2**40,
        "progress": 100,
        "attempts": 1,
        "message": "Loaded 5 records",
        "jobName": "run-0a1b2c",
        "conditions": [condition],
    }
    assert status.items() <= stored.change_status("least", status)["status"].items()


def test_columns(stored: Resource, namespace: str) -> None:
    header = kubectl("get", "plr", "--namespace", namespace, "--output", "wide").splitlines()[0].split()
    assert header == [
        *("NAME", "ORG", "PROVIDER", "DOMAIN", "PIPELINE"),
        *("STATUS", "PROGRESS", "RECORDS", "DURATION", "AGE", "MESSAGE"),
    ]


def test_runs_can_be_selected_by_organization(stored: Resource, namespace: str) -> None:
    select = ("get", "pipelines", "--namespace", namespace, "--output", "name", "--field-selector")
    assert "pipelinerun.pipelines.dev/least" in kubectl(*select, "spec.org=acme")
    assert kubectl(*select, "spec.org=other") == ""


CHANGED = {
    **FULL,
    "org": "other",
    "provider": "other",
    "domain": "other",
    "pipeline": "other",
    "parameters": {"date": "2026-10-02"},
    "logicalTime": "2026-10-03T00:00:00Z",
    "scheduleRef": {"name": "weekly"},
    "priority": 6,
    "timeoutSeconds": 61,
    "maxRetries": 2,
    "quotaPolicy": "Reject",
    "queueTimeoutSeconds": 601,
    "ttlSecondsAfterFinished": 601,
    "runId": "run_ffff",
}
OPTIONAL_WITHOUT_DEFAULT = sorted(
    FULL.keys() - SPEC.keys() - {"priority", "quotaPolicy", "ttlSecondsAfterFinished", "queueTimeoutSeconds"}
)


@pytest.mark.parametrize("field", sorted(CHANGED))
def test_a_field_of_a_run_can_not_be_changed(stored: Resource, field: str) -> None:
    assert_immutable(stored, "full", {field: CHANGED[field]}, field)


@pytest.mark.parametrize("field", OPTIONAL_WITHOUT_DEFAULT)
def test_a_field_of_a_run_can_not_be_added(stored: Resource, field: str) -> None:
    assert_immutable(stored, "least", {field: FULL[field]}, field)


@pytest.mark.parametrize("field", [*OPTIONAL_WITHOUT_DEFAULT, "queueTimeoutSeconds"])
def test_a_field_of_a_run_can_not_be_removed(stored: Resource, field: str) -> None:
    assert_immutable(stored, "full", {field: None}, field)


def test_one_parameter_can_not_be_added_to_a_run(stored: Resource) -> None:
    assert_immutable(stored, "full", {"parameters": {"more": 1}}, "parameters")


def test_an_unknown_field_can_not_be_added_to_a_run(stored: Resource) -> None:
    with pytest.raises(client.ApiException) as caught:
        stored.change("least", {"parallelism": 2})
    assert_refused(caught.value, ['unknown field "spec.parallelism"'])


def test_a_run_can_be_cancelled_but_not_revived(runs: Resource) -> None:
    runs.create(SPEC, name="cancelled", keep=True)
    assert runs.change("cancelled", {"cancel": True}, keep=True)["spec"]["cancel"] is True
    for value in (False, None):
        with pytest.raises(client.ApiException) as caught:
            runs.change("cancelled", {"cancel": value})
        assert_refused(caught.value, ["spec.cancel: can't be taken back, expected true"])


def assert_immutable(resource: Resource, name: str, change: Mapping[str, Any], field: str) -> None:
    with pytest.raises(client.ApiException) as caught:
        resource.change(name, change)
    assert_refused(caught.value, [f"spec.{field}: immutable, expected the value that the run was created with"])
