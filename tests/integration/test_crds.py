"""What a real API server accepts and refuses of runs and schedules, and the words it refuses with."""

import copy
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.observed import (
    BackfillProgress,
    Backlog,
    ConditionValue,
    LastMissed,
    ScheduleStatus,
)
from pipeline_operator.schedules.parsing import parse_schedule
from pipeline_operator.schedules.status import build_status, difference
from support.local_cluster import api_client, install_crds, kubectl, refusal

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
VERSION = "pipelines.dev/v1alpha1"
# A provider that no catalog has: where an operator is running, it refuses these runs at once.
SPEC = {"org": "acme", "provider": "nowhere", "domain": "cost", "pipeline": "billing"}
CRON = {**SPEC, "cronExpression": "0 */6 * * *"}
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
ABSENT = object()


def with_spec(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    spec = {**copy.deepcopy(dict(base)), **changes}
    return {name: value for name, value in spec.items() if value is not ABSENT}


class Resource:
    """One of the two resources in a namespace; every write is strictly validated."""

    def __init__(self, namespace: str, kind: str) -> None:
        self._api = client.CustomObjectsApi(api_client())
        self._kind = kind
        self._where = ("pipelines.dev", "v1alpha1", namespace, f"{kind.lower()}s")

    def create(self, spec: Any, *, name: str = "one", keep: bool = False, **more: Any) -> dict[str, Any]:
        body = {"apiVersion": VERSION, "kind": self._kind, "metadata": {"name": name}, "spec": spec, **more}
        return dict(
            self._api.create_namespaced_custom_object(
                *self._where, body, field_validation="Strict", **({} if keep else {"dry_run": "All"})
            )
        )

    def change(self, name: str, spec: Mapping[str, Any], *, keep: bool = False) -> dict[str, Any]:
        """Merge `spec` into the object's; None removes a field."""
        return dict(
            self._api.patch_namespaced_custom_object(
                *self._where, name, {"spec": spec}, field_validation="Strict", **({} if keep else {"dry_run": "All"})
            )
        )

    def change_status(self, name: str, status: Mapping[str, Any]) -> dict[str, Any]:
        return dict(
            self._api.patch_namespaced_custom_object_status(
                *self._where, name, {"status": status}, field_validation="Strict", dry_run="All"
            )
        )


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace of its own in a cluster that has the CRDs of this checkout."""
    install_crds()
    core = client.CoreV1Api(api_client())
    name = f"test-crds-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="module")
def runs(namespace: str) -> Resource:
    return Resource(namespace, "PipelineRun")


@pytest.fixture(scope="module")
def schedules(namespace: str) -> Resource:
    return Resource(namespace, "PipelineSchedule")


@pytest.fixture(scope="module")
def stored(runs: Resource) -> Resource:
    """With the run `least`, which has the required fields only, and the run `full`, which has all."""
    runs.create(SPEC, name="least", keep=True)
    runs.create(FULL, name="full", keep=True)
    return runs


@pytest.mark.parametrize("name", ["pipelineruns", "pipelineschedules"])
def test_the_schema_is_structural(namespace: str, name: str) -> None:
    crd = client.ApiextensionsV1Api(api_client()).read_custom_resource_definition(f"{name}.pipelines.dev")
    conditions = {condition.type: condition.status for condition in crd.status.conditions}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


def test_the_least_run_gets_its_defaults(runs: Resource) -> None:
    assert runs.create(SPEC)["spec"] == {
        **SPEC,
        "priority": 0,
        "quotaPolicy": "Reject",
        "ttlSecondsAfterFinished": 604800,
        "cancel": False,
    }


def test_the_least_schedule_gets_its_defaults(schedules: Resource) -> None:
    assert schedules.create(CRON)["spec"] == {
        **CRON,
        "timeZone": "Etc/UTC",
        "enabled": True,
        "concurrencyPolicy": "Forbid",
        "catchUp": "Latest",
        "catchUpLimit": 100,
        "staggerSeconds": 0,
        "successfulRunsHistoryLimit": 3,
        "failedRunsHistoryLimit": 3,
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
    "changes",
    [
        {"cronExpression": "@hourly"},
        {"cronExpression": "*/5 0-6,22 1,15 jan-mar mon"},
        {"timeZone": "Europe/Madrid"},
        {"timeZone": "America/Argentina/Buenos_Aires"},
        {"timeZone": "Etc/GMT+12"},
        {"catchUp": "None"},
        {"enabled": False, "concurrencyPolicy": "Replace", "startingDeadlineSeconds": 300},
        {"parameters": {"days": 3}},
        {"staggerSeconds": 3600, "catchUp": "All", "catchUpLimit": 1000},
        {"backfill": {"from": "2026-10-01", "to": "2026-10-31", "concurrency": 1, "paused": False}},
        {
            "backfill": {
                "id": "october",
                "from": "2026-10-01T00:00:00Z",
                "to": "2026-10-31T23:59:59.5+02:00",
                "concurrency": 10,
                "paused": True,
            }
        },
        {"runTemplate": {"quotaPolicy": "Queue", "queueTimeoutSeconds": 60, "timeoutSeconds": 60, "maxRetries": 0}},
    ],
)
def test_schedule_is_accepted(schedules: Resource, changes: Mapping[str, Any]) -> None:
    created = schedules.create({**CRON, **changes})["spec"]
    assert {name: created[name] for name in changes} == changes


def test_runs_of_a_schedule_wait_for_quota_by_default(schedules: Resource) -> None:
    created = schedules.create({**CRON, "runTemplate": {"queueTimeoutSeconds": 60}})["spec"]
    assert created["runTemplate"] == {"queueTimeoutSeconds": 60, "quotaPolicy": "Queue"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cronExpression": ABSENT}, ["spec.cronExpression: Required value"]),
        ({"cronExpression": "0 0 */6 * * *"}, ["spec.cronExpression: must be five fields", "seconds aren't supported"]),
        ({"cronExpression": "0 */6 * *"}, ["spec.cronExpression: must be five fields"]),
        ({"cronExpression": "@fortnightly"}, ["spec.cronExpression: must be five fields"]),
        ({"cronExpression": "@every 5m"}, ["spec.cronExpression: must be five fields"]),
        ({"timeZone": "Local"}, ["spec.timeZone: must be a name of the IANA time zone database"]),
        ({"timeZone": "../etc/passwd"}, ["spec.timeZone: must be"]),
        ({"timeZone": "UTC+2 hours"}, ["spec.timeZone: must be"]),
        ({"concurrencyPolicy": "Skip"}, ["spec.concurrencyPolicy", "Allow", "Forbid", "Replace"]),
        ({"catchUp": "Some"}, ["spec.catchUp", "None", "Latest", "All"]),
        ({"startingDeadlineSeconds": 0}, ["spec.startingDeadlineSeconds"]),
        ({"successfulRunsHistoryLimit": -1}, ["spec.successfulRunsHistoryLimit"]),
        ({"failedRunsHistoryLimit": 101}, ["spec.failedRunsHistoryLimit"]),
        ({"runTemplate": {"org": "other"}}, ['unknown field "spec.runTemplate.org"']),
        (
            {"runTemplate": {"quotaPolicy": "Reject", "queueTimeoutSeconds": 60}},
            ["spec.runTemplate.queueTimeoutSeconds: only allowed with spec.runTemplate.quotaPolicy Queue"],
        ),
        ({"org": "Acme"}, ["spec.org"]),
        ({"parameters": {"Days": 3}}, ["spec.parameters: each name must be"]),
        ({"suspend": True}, ['unknown field "spec.suspend"']),
        ({"staggerSeconds": 3601}, ["spec.staggerSeconds"]),
        ({"catchUpLimit": 0}, ["spec.catchUpLimit"]),
        ({"backfill": {"from": "2026-10-01"}}, ["spec.backfill.to: Required value"]),
        ({"backfill": {"from": "yesterday", "to": "2026-10-01"}}, ["spec.backfill.from"]),
        ({"backfill": {"from": "2026-10-01", "to": "2026-10-01T00:00:00"}}, ["spec.backfill.to"]),
        ({"backfill": {"from": "2026-10-01", "to": "2026-10-02", "id": "October"}}, ["spec.backfill.id"]),
        ({"backfill": {"from": "2026-10-01", "to": "2026-10-02", "concurrency": 11}}, ["spec.backfill.concurrency"]),
    ],
)
def test_schedule_is_refused(schedules: Resource, changes: Mapping[str, Any], words: list[str]) -> None:
    with pytest.raises(client.ApiException) as caught:
        schedules.create(with_spec(CRON, changes))
    assert_refused(caught.value, words)


def test_a_long_name_of_a_schedule_is_refused(schedules: Resource) -> None:
    assert schedules.create(CRON, name="s" * 52)
    with pytest.raises(client.ApiException) as caught:
        schedules.create(CRON, name="s" * 53)
    assert_refused(caught.value, ["metadata.name: Too long: may not be more than 52 bytes"])


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


def test_of_a_schedule_all_but_the_organization_can_be_changed(schedules: Resource) -> None:
    # disabled, so that an operator has nothing to do with it
    schedules.create({**CRON, "enabled": False}, name="kept", keep=True)
    assert schedules.change("kept", {"cronExpression": "@daily", "parameters": {"days": 1}})
    with pytest.raises(client.ApiException) as caught:
        schedules.change("kept", {"org": "other"})
    assert_refused(caught.value, ["spec.org: immutable, expected the value that the schedule was created with"])


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


def test_columns_of_schedules(schedules: Resource, namespace: str) -> None:
    schedules.create({**CRON, "enabled": False}, name="shown", keep=True)
    lines = kubectl("get", "pls", "shown", "--namespace", namespace).splitlines()
    assert lines[0].split() == [
        *("NAME", "ORG", "PROVIDER", "DOMAIN", "PIPELINE", "CRON", "ZONE"),
        *("ENABLED", "LAST", "NEXT", "ACTIVE", "OUTCOME", "AGE"),
    ]
    assert "0 */6 * * *" in lines[1]


def test_every_field_of_a_schedules_status_is_taken(schedules: Resource) -> None:
    schedules.create({**CRON, "enabled": False}, name="told", keep=True)
    tick = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
    wanted = ScheduleStatus(
        observed_generation=1,
        observed_schedule="0 */6 * * * Etc/UTC",
        handled_until=tick,
        last_run_at=tick,
        next_run_at=tick,
        active=1,
        last_outcome=Phase.FAILED,
        last_ended_at=tick,
        missed=2,
        last_missed=LastMissed(tick, "StillRunning", "words"),
        backlog=Backlog(tick, tick),
        backfill=BackfillProgress("october", "Running", 31, 3, 1, 2, tick, "words", tick, tick),
        handled_trigger="now",
        conditions=(ConditionValue("Ready", True, "Scheduled", "words"),),
    )
    before = schedules.change_status("told", {})
    status = build_status(parse_schedule(before), wanted)
    patch = difference({}, status, tick)
    assert patch is not None
    after = schedules.change_status("told", patch)  # strictly: an unknown field is refused
    assert parse_schedule(after).status == wanted


def test_runs_can_be_selected_by_organization(stored: Resource, namespace: str) -> None:
    select = ("get", "pipelines", "--namespace", namespace, "--output", "name", "--field-selector")
    assert "pipelinerun.pipelines.dev/least" in kubectl(*select, "spec.org=acme")
    assert kubectl(*select, "spec.org=other") == ""


def test_the_folder_of_examples_is_accepted(namespace: str) -> None:
    folder = str(ROOT / "examples")
    kubectl("apply", "--dry-run=server", "--validate=strict", "--namespace", namespace, "--filename", folder)


def assert_immutable(resource: Resource, name: str, change: Mapping[str, Any], field: str) -> None:
    with pytest.raises(client.ApiException) as caught:
        resource.change(name, change)
    assert_refused(caught.value, [f"spec.{field}: immutable, expected the value that the run was created with"])


def assert_refused(error: client.ApiException, words: list[str]) -> None:
    message = refusal(error)
    assert error.status in (400, 422), message
    for word in words:
        assert word in message
