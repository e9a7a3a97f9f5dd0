"""The endpoints of schedules: list, make, delete, and what all refuse alike, over an API server in memory."""

from typing import Any

import pytest

from pipeline_core.api_keys import Scope
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from support.bridge import Bridge, settings
from support.bridge_schedules import BODY, ask, id_of, put_schedule, refused, stored

UNKNOWN = "sch_00000000000000000000000000000000"


async def test_the_queue_holds_every_schedule_of_the_organization_in_order() -> None:
    bridge = Bridge()
    last = put_schedule(bridge, name="a", domain="usage")
    off = put_schedule(bridge, name="b", enabled=False, status={"nextRunAt": "2026-11-22T06:00:00Z"})
    put_schedule(bridge, name="c", org="globex")
    put_schedule(bridge, name="d", metadata={"namespace": "elsewhere"}, pipeline="aws")
    times = {"lastRunAt": "2026-11-22T01:00:00+01:00", "nextRunAt": "2026-11-22T06:00:00Z"}
    put_schedule(bridge, name="e", pipeline="credits", status=times)
    status, answer = await ask(bridge, "GET", "queue")
    assert status == 200
    assert [schedule["pipeline"] for schedule in answer["schedules"]] == ["aws", "billing", "credits", "billing"]
    assert answer["schedules"][1] == {
        "schedule_id": id_of(off),
        "provider": "gcp",
        "domain": "cost",
        "pipeline": "billing",
        "cron_expression": "0 */6 * * *",
        "is_enabled": False,
    }
    assert answer["schedules"][2]["last_run_at"] == "2026-11-22T00:00:00Z"
    assert answer["schedules"][2]["next_run_at"] == "2026-11-22T06:00:00Z"
    assert answer["schedules"][3]["schedule_id"] == id_of(last)


async def test_schedules_are_looked_for_where_the_installation_looks() -> None:
    bridge = Bridge(settings=settings(namespaces=["one", "two"]))
    for namespace in ("one", "two", "three"):
        put_schedule(bridge, metadata={"namespace": namespace})
    _, answer = await ask(bridge, "GET", "queue")
    assert len(answer["schedules"]) == 2


async def test_a_schedule_is_made_as_an_object() -> None:
    bridge = Bridge()
    body = {
        **BODY,
        "pipeline": "gcp_billing",
        "cron_expression": " 0  3 * * * ",
        "time_zone": "Europe/Madrid",
        "is_enabled": False,
        "parameters": {"date": "2026-11-01"},
        "concurrency_policy": "Allow",
        "catch_up": "None",
        "starting_deadline_seconds": 600,
        "catch_up_limit": 10,
        "stagger_seconds": 300,
        "successful_runs_history_limit": 0,
        "failed_runs_history_limit": 7,
        "timeout_seconds": 7200,
        "max_retries": 0,
        "priority": -5,
        "quota_policy": "Queue",
        "queue_timeout_seconds": 60,
        "name": "nightly",
    }
    async with bridge.client(bridge.key(Scope.SCHEDULE)) as client:
        answer = await client.post("/api/v1/scheduler/schedule", json=body, headers={"X-Request-Id": "request-1"})
    (made,) = stored(bridge)
    assert answer.status_code == 201
    assert answer.json() == {"success": True, "schedule_id": id_of(made)}
    assert answer.headers["Location"] == f"/api/v1/scheduler/schedule/{id_of(made)}"
    assert made["metadata"]["name"] == "nightly"
    assert made["metadata"]["labels"] == {
        "pipelines.dev/org": "acme",
        "pipelines.dev/provider": "gcp",
        "app.kubernetes.io/managed-by": "pipelines-bridge",
    }
    assert made["metadata"]["annotations"] == {"pipelines.dev/request-id": "request-1"}
    assert made["spec"] == {
        "org": "acme",
        "provider": "gcp",
        "domain": "cost",
        "pipeline": "billing",
        "cronExpression": "0 3 * * *",
        "timeZone": "Europe/Madrid",
        "enabled": False,
        "parameters": {"date": "2026-11-01"},
        "concurrencyPolicy": "Allow",
        "catchUp": "None",
        "startingDeadlineSeconds": 600,
        "catchUpLimit": 10,
        "staggerSeconds": 300,
        "successfulRunsHistoryLimit": 0,
        "failedRunsHistoryLimit": 7,
        "runTemplate": {
            "timeoutSeconds": 7200,
            "maxRetries": 0,
            "priority": -5,
            "quotaPolicy": "Queue",
            "queueTimeoutSeconds": 60,
        },
    }


async def test_what_a_request_leaves_out_is_left_to_the_api_server() -> None:
    bridge = Bridge()
    nulls = dict.fromkeys(("starting_deadline_seconds", "timeout_seconds", "priority"))
    status, _ = await ask(bridge, "POST", "schedule", {**BODY, **nulls, "max_retries": 1})
    (made,) = stored(bridge)
    assert status == 201
    assert made["spec"].keys() == {"org", "provider", "domain", "pipeline", "cronExpression", "runTemplate"}
    assert made["spec"]["runTemplate"] == {"maxRetries": 1}
    assert made["metadata"]["name"].startswith("gcp-cost-billing-")


@pytest.mark.parametrize(
    ("change", "status", "kind", "detail"),
    [
        ({"provider": "gcq"}, 404, "unknown-provider", "Unknown provider: gcq"),
        ({"pipeline": "invoices"}, 404, "pipeline-not-found", "Pipeline not found: gcp/cost/invoices"),
        ({"parameters": {"day": 1}}, 422, "parameters-invalid", "unknown parameter 'day'"),
        ({"parameters": {"date": "soon"}}, 422, "parameters-invalid", "parameter 'date': expected"),
        ({"parameters": {"date": "x" * 1_025}}, 422, "parameters-invalid", "parameter 'date': 1025 characters"),
        (
            {"parameters": {"date": "{{today}}"}},
            422,
            "parameters-invalid",
            "parameter 'date': unknown variable 'today'",
        ),
        ({"parameters": {"date": "{{date"}}, 422, "parameters-invalid", "parameter 'date': malformed template"),
        ({"parameters": {"date": "{{org_slug}}"}}, 422, "parameters-invalid", "parameter 'date': expected a day"),
        (
            {"quota_policy": "Reject", "queue_timeout_seconds": 60},
            422,
            "request-invalid",
            "queue_timeout_seconds: 60, expected none with the quota_policy Reject",
        ),
        ({"cron_expression": "* * * * * *"}, 422, "request-invalid", "cron_expression: '* * * * * *', expected five"),
        ({"time_zone": "Local"}, 422, "request-invalid", "time_zone: 'Local', expected a name of the IANA"),
        ({"name": "Nightly"}, 422, "request-invalid", "name: 'Nightly', expected at most 52"),
        ({"org": "globex"}, 422, "request-invalid", "org: expected no such field"),
    ],
)
async def test_a_schedule_that_cannot_be_is_refused_before_the_api_server_is_asked(
    change: dict[str, Any], status: int, kind: str, detail: str
) -> None:
    bridge = Bridge()
    found = await refused(bridge, "POST", "schedule", {**BODY, **change})
    assert found[:2] == (status, kind)
    assert found[2].startswith(detail)
    assert bridge.kubernetes.calls == []


async def test_a_name_that_is_taken_is_told() -> None:
    bridge = Bridge()
    put_schedule(bridge, org="globex")
    status, kind, detail = await refused(bridge, "POST", "schedule", {**BODY, "name": "nightly"})
    assert (status, kind) == (409, "name-taken")
    assert "'nightly'" in detail


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_what_the_api_server_refuses_nevertheless_is_told_in_its_words(method: str) -> None:
    bridge = Bridge()
    path = "schedule" if method == "POST" else f"schedule/{id_of(put_schedule(bridge))}"
    words = "admission webhook denied the request: no schedules on Fridays"

    def refuse(verb: str, _: str) -> None:
        if verb != "GET":
            raise KubeError(403, "Forbidden", words)

    bridge.kubernetes.before = refuse
    body = BODY if method == "POST" else {"is_enabled": False}
    assert await refused(bridge, method, path, body) == (422, "refused-by-kubernetes", words)


async def test_a_schedule_is_deleted_once() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    path = f"schedule/{id_of(schedule)}"
    assert await ask(bridge, "DELETE", path) == (200, {"success": True})
    assert stored(bridge) == []
    found = await refused(bridge, "DELETE", path)
    assert found == (404, "schedule-not-found", f"Schedule not found: {id_of(schedule)}")


@pytest.mark.parametrize(("method", "body"), [("PUT", {"is_enabled": False}), ("DELETE", None)])
async def test_a_schedule_that_is_kept_in_git_is_not_changed_behind_its_back(method: str, body: Any) -> None:
    bridge = Bridge()
    tracking = {"argocd.argoproj.io/tracking-id": "acme-etl:pipelines.dev/PipelineSchedule:default/nightly"}
    schedule = put_schedule(bridge, metadata={"annotations": tracking})
    status, kind, detail = await refused(bridge, method, f"schedule/{id_of(schedule)}", body)
    assert (status, kind) == (409, "managed-by-git-ops")
    assert detail.startswith("Schedule nightly is managed by Argo CD, application acme-etl (annotation argocd.")
    assert bridge.kubernetes.writes() == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "trigger", {}),
        ("PUT", "schedule/", {"is_enabled": False}),
        ("DELETE", "schedule/", None),
    ],
)
async def test_another_organizations_schedule_is_as_one_that_does_not_exist(method: str, path: str, body: Any) -> None:
    bridge = Bridge()
    theirs = id_of(put_schedule(bridge, org="globex"))
    for unknown in (theirs, UNKNOWN, "sch_1", "nightly"):
        if method == "POST":
            found = await refused(bridge, method, path, {"schedule_id": unknown})
        else:
            found = await refused(bridge, method, path + unknown, body)
        assert found == (404, "schedule-not-found", f"Schedule not found: {unknown}")
    assert bridge.kubernetes.writes() == []


@pytest.mark.parametrize(("body", "status"), [({}, 200), ({"force": True}, 422)])
async def test_a_deletion_has_no_fields(body: Any, status: int) -> None:
    bridge = Bridge()
    path = f"schedule/{id_of(put_schedule(bridge))}"
    found, answer = await ask(bridge, "DELETE", path, body)
    assert (found, len(stored(bridge))) == (status, int(status == 422))
    assert status == 200 or answer["errors"] == [{"field": "force", "expected": "no such field"}]


async def test_without_kubernetes_every_endpoint_says_so() -> None:
    bridge = Bridge()
    schedule = id_of(put_schedule(bridge))

    def away(method: str, path: str) -> None:
        raise KubeUnavailableError(f"{method} {path}: no answer")

    bridge.kubernetes.before = away
    requests: list[tuple[str, str, Any]] = [
        ("GET", "queue", None),
        ("POST", "trigger", {"schedule_id": schedule}),
        ("POST", "schedule", BODY),
        ("PUT", f"schedule/{schedule}", {"is_enabled": False}),
        ("DELETE", f"schedule/{schedule}", None),
    ]
    for method, path, body in requests:
        assert (await refused(bridge, method, path, body))[:2] == (503, "kubernetes-unavailable"), path
