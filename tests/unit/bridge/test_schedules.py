"""The endpoints of schedules: list, trigger, make, change, delete, over an API server in memory."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.api_keys import Scope
from pipeline_core.identifiers import schedule_id
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from support.bridge import Bridge, settings

SPEC = {"provider": "gcp", "domain": "cost", "pipeline": "billing", "cronExpression": "0 */6 * * *"}
BODY = {"provider": "gcp", "domain": "cost", "pipeline": "billing", "cron_expression": "0 */6 * * *"}
UNKNOWN = "sch_00000000000000000000000000000000"


def put_schedule(bridge: Bridge, *, org: str = "acme", name: str = "nightly", **more: Any) -> Json:
    """A schedule as kubectl would have made it; `more` is further fields of its spec, or its whole metadata."""
    metadata = {"name": name, **more.pop("metadata", {})}
    status = more.pop("status", {})
    body = {"metadata": metadata, "spec": {"org": org, **SPEC, "enabled": True, **more}, "status": status}
    return bridge.kubernetes.put("pipelineschedules", body)


def id_of(schedule: Json) -> str:
    return schedule_id(schedule["metadata"]["uid"])


def stored(bridge: Bridge, plural: str = "pipelineschedules") -> list[Json]:
    return [body for (kind, _, _), body in bridge.kubernetes.objects.items() if kind == plural]


def runs(bridge: Bridge) -> list[Json]:
    return stored(bridge, "pipelineruns")


async def ask(bridge: Bridge, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    async with bridge.client(bridge.key(Scope.ADMIN)) as client:
        answer = await client.request(method, f"/api/v1/scheduler/{path}", json=body, headers=headers)
        return answer.status_code, answer.json()


async def refused(bridge: Bridge, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
    status, problem = await ask(bridge, method, path, body)
    return status, problem["type"].removeprefix("urn:pipelines:problem:"), problem["detail"]


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


async def test_a_change_touches_what_it_names_and_nothing_else() -> None:
    bridge = Bridge()
    before = put_schedule(bridge, parameters={"date": "2026-11-01"}, startingDeadlineSeconds=60, timeZone="Etc/UTC")
    expected = {**before["spec"], "cronExpression": "@daily", "enabled": False}
    status, answer = await ask(
        bridge, "PUT", f"schedule/{id_of(before)}", {"cron_expression": "@daily", "is_enabled": False}
    )
    assert (status, answer) == (200, {"success": True})
    (after,) = stored(bridge)
    assert after["spec"] == expected
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_new_parameters_take_the_place_of_the_old_ones_and_null_takes_the_deadline_away() -> None:
    bridge = Bridge()
    before = put_schedule(bridge, parameters={"date": "2026-11-01"}, startingDeadlineSeconds=60)
    body = {"parameters": {"start_date": "2026-11-01"}, "starting_deadline_seconds": None}
    status, _ = await ask(bridge, "PUT", f"schedule/{id_of(before)}", body)
    (after,) = stored(bridge)
    assert status == 200
    assert after["spec"]["parameters"] == {"start_date": "2026-11-01"}
    assert "startingDeadlineSeconds" not in after["spec"]


async def test_fields_of_the_runs_are_changed_one_by_one() -> None:
    bridge = Bridge()
    before = put_schedule(bridge, runTemplate={"timeoutSeconds": 60, "maxRetries": 1, "ttlSecondsAfterFinished": 5})
    body = {"timeout_seconds": None, "max_retries": 2, "quota_policy": "Reject", "stagger_seconds": 60}
    status, _ = await ask(bridge, "PUT", f"schedule/{id_of(before)}", body)
    (after,) = stored(bridge)
    assert status == 200
    assert after["spec"]["runTemplate"] == {"maxRetries": 2, "ttlSecondsAfterFinished": 5, "quotaPolicy": "Reject"}
    assert after["spec"]["staggerSeconds"] == 60


@pytest.mark.parametrize(
    ("before", "change", "status"),
    [
        ({"queueTimeoutSeconds": 60}, {"quota_policy": "Reject"}, 422),
        ({"quotaPolicy": "Reject"}, {"queue_timeout_seconds": 60}, 422),
        ({"queueTimeoutSeconds": 60}, {"quota_policy": "Reject", "queue_timeout_seconds": None}, 200),
        ({"quotaPolicy": "Reject"}, {"quota_policy": "Queue", "queue_timeout_seconds": 60}, 200),
    ],
)
async def test_no_run_waits_that_is_to_be_rejected(before: Json, change: Json, status: int) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, runTemplate=before)
    assert (await ask(bridge, "PUT", f"schedule/{id_of(schedule)}", change))[0] == status


async def test_parameters_that_follow_the_tick_are_stored_as_they_are() -> None:
    bridge = Bridge()
    parameters = {"start_date": "{{yesterday}}", "end_date": "{{date}}"}
    assert (await ask(bridge, "POST", "schedule", {**BODY, "parameters": parameters}))[0] == 201
    (made,) = stored(bridge)
    assert made["spec"]["parameters"] == parameters
    change = {"parameters": {"date": "{{year}}-{{month}}-01"}}
    assert (await ask(bridge, "PUT", f"schedule/{id_of(made)}", change))[0] == 200
    (made,) = stored(bridge)
    assert made["spec"]["parameters"] == {"date": "{{year}}-{{month}}-01"}


async def test_a_triggered_run_is_given_the_dates_of_now() -> None:
    bridge = Bridge()
    bridge.time = datetime(2026, 11, 22, 0, 30, tzinfo=UTC)
    schedule = put_schedule(bridge, timeZone="America/New_York", parameters={"date": "{{yesterday}}"})
    _, answer = await ask(bridge, "POST", "trigger", {"schedule_id": id_of(schedule)})
    (run,) = runs(bridge)
    assert run["spec"]["parameters"] == {"date": "2026-11-21"}
    assert run["spec"]["logicalTime"] == "2026-11-22T00:30:00Z"
    assert run["metadata"]["annotations"]["pipelines.dev/cause"] == "trigger"
    record = await bridge.records.get(answer["run_id"])
    assert record is not None
    assert record.parameters == {"date": "2026-11-21"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{{today}}", "parameter 'date': unknown variable 'today'; known: date, day"),
        ("{{run_id}}", "parameter 'date': expected a day of the calendar as YYYY-MM-DD, got 'run_"),
    ],
)
async def test_a_trigger_of_what_cannot_be_resolved_is_refused(value: str, words: str) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, parameters={"date": value})
    found = await refused(bridge, "POST", "trigger", {"schedule_id": id_of(schedule)})
    assert found[:2] == (422, "parameters-invalid")
    assert found[2].startswith(words)
    assert await bridge.ledger.held() == []


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        ({}, "request-invalid", "expected at least one field of: is_enabled"),
        ({"pipeline": "billing"}, "request-invalid", "pipeline: expected no such field"),
        ({"cron_expression": "@reboot"}, "request-invalid", "cron_expression: '@reboot', expected five fields"),
        ({"parameters": {"day": 1}}, "parameters-invalid", "unknown parameter 'day'"),
    ],
)
async def test_a_change_that_cannot_be_is_refused(body: dict[str, Any], kind: str, detail: str) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    found = await refused(bridge, "PUT", f"schedule/{id_of(schedule)}", body)
    assert found[:2] == (422, kind)
    assert found[2].startswith(detail)
    assert bridge.kubernetes.writes() == []


async def test_a_change_that_another_came_between_is_made_upon_that_one() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, parameters={"date": "2026-11-01"})
    others = iter([{"end_date": "2026-11-02"}, {"start_date": "2026-11-02"}])

    def interfere(method: str, _: str) -> None:
        if method == "PATCH" and (other := next(others, None)):
            schedule["spec"]["parameters"] = other
            bridge.kubernetes.put("pipelineschedules", schedule)

    bridge.kubernetes.before = interfere
    body = {"parameters": {"date": "2026-11-05"}}
    status, _ = await ask(bridge, "PUT", f"schedule/{id_of(schedule)}", body)
    (after,) = stored(bridge)
    assert status == 200
    # Theirs wouldn't have been taken away by a patch that knew only of the first.
    assert after["spec"]["parameters"] == {"date": "2026-11-05"}


async def test_a_change_gives_up_where_others_never_stop() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)

    def interfere(method: str, _: str) -> None:
        if method == "PATCH":
            bridge.kubernetes.put("pipelineschedules", schedule)

    bridge.kubernetes.before = interfere
    found = await refused(bridge, "PUT", f"schedule/{id_of(schedule)}", {"is_enabled": False})
    assert found[:2] == (409, "conflict")
    assert len(bridge.kubernetes.writes()) == 5


async def test_what_has_taken_the_name_meanwhile_is_left_alone() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)

    def replace(method: str, _: str) -> None:
        if method == "PATCH":
            put_schedule(bridge, metadata={"uid": str(uuid.uuid4())})

    bridge.kubernetes.before = replace
    found = await refused(bridge, "PUT", f"schedule/{id_of(schedule)}", {"is_enabled": False})
    assert found == (404, "schedule-not-found", f"Schedule not found: {id_of(schedule)}")
    (after,) = stored(bridge)
    assert after["spec"]["enabled"] is True


async def test_a_schedule_that_goes_away_under_a_change_is_not_found() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)

    def remove(method: str, _: str) -> None:
        if method == "PATCH":
            bridge.kubernetes.remove("pipelineschedules", "default", "nightly")

    bridge.kubernetes.before = remove
    found = await refused(bridge, "PUT", f"schedule/{id_of(schedule)}", {"is_enabled": False})
    assert found[:2] == (404, "schedule-not-found")


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


async def test_a_trigger_starts_the_schedules_run() -> None:
    bridge = Bridge()
    template = {"timeoutSeconds": 600, "maxRetries": 1, "priority": 5, "quotaPolicy": "Queue"}
    schedule = put_schedule(
        bridge,
        metadata={"namespace": "elsewhere", "labels": {"kustomize.toolkit.fluxcd.io/name": "tenants"}},
        enabled=False,
        parameters={"date": "2026-11-01"},
        runTemplate=template,
    )
    status, answer = await ask(bridge, "POST", "trigger", {"schedule_id": id_of(schedule)})
    (run,) = runs(bridge)
    assert status == 200
    assert answer == {"run_id": run["spec"]["runId"]}
    assert run["metadata"]["namespace"] == "elsewhere"
    assert run["metadata"]["labels"]["pipelines.dev/schedule"] == "nightly"
    assert run["spec"]["scheduleRef"] == {"name": "nightly", "uid": schedule["metadata"]["uid"]}
    assert run["spec"]["parameters"] == {"date": "2026-11-01"}
    found = {name: run["spec"][name] for name in ("timeoutSeconds", "maxRetries", "priority", "quotaPolicy")}
    assert found == {**template, "quotaPolicy": "Reject"}
    record = await bridge.records.get(answer["run_id"])
    assert record is not None
    assert record.schedule_id == id_of(schedule)


async def test_a_trigger_sent_twice_with_one_idempotency_key_starts_one_run() -> None:
    bridge = Bridge()
    body = {"schedule_id": id_of(put_schedule(bridge))}
    first = await ask(bridge, "POST", "trigger", body, **{"Idempotency-Key": "monday"})
    second = await ask(bridge, "POST", "trigger", body, **{"Idempotency-Key": "monday"})
    assert first == second
    assert len(runs(bridge)) == 1
    other = {"schedule_id": id_of(put_schedule(bridge, name="other"))}
    status, problem = await ask(bridge, "POST", "trigger", other, **{"Idempotency-Key": "monday"})
    assert (status, problem["type"]) == (422, "urn:pipelines:problem:idempotency-key-reused")


async def test_a_trigger_that_was_answered_is_answered_again_whatever_became_of_the_schedule() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    body, monday = {"schedule_id": id_of(schedule)}, {"Idempotency-Key": "monday"}
    first = await ask(bridge, "POST", "trigger", body, **monday)
    bridge.kubernetes.remove("pipelineschedules", "default", "nightly")
    assert await ask(bridge, "POST", "trigger", body, **monday) == first
    bridge.records.rows[first[1]["run_id"]]["object_uid"] = runs(bridge)[0]["metadata"]["uid"]  # the operator sees it

    def away(_method: str, _path: str) -> None:
        raise KubeUnavailableError("no answer")

    bridge.kubernetes.before = away
    assert await ask(bridge, "POST", "trigger", body, **monday) == first
    assert len(runs(bridge)) == 1


async def test_a_trigger_that_goes_on_after_a_change_makes_the_run_that_is_recorded() -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge, parameters={"date": "2026-11-01"})
    body, monday = {"schedule_id": id_of(schedule)}, {"Idempotency-Key": "monday"}

    def away(method: str, _path: str) -> None:
        if method == "POST":
            raise KubeUnavailableError("no answer")

    bridge.kubernetes.before = away
    status, problem = await ask(bridge, "POST", "trigger", body, **monday)
    assert status == 503
    bridge.kubernetes.before = lambda _method, _path: None
    schedule["spec"]["parameters"] = {"date": "2026-11-02"}
    bridge.kubernetes.put("pipelineschedules", schedule)
    assert await ask(bridge, "POST", "trigger", body, **monday) == (200, {"run_id": problem["run_id"]})
    (run,) = runs(bridge)
    record = await bridge.records.get(problem["run_id"])
    assert record is not None
    assert run["spec"]["parameters"] == record.parameters == {"date": "2026-11-01"}
    assert run["spec"]["scheduleRef"]["name"] == "nightly"


async def test_a_trigger_that_never_was_carried_out_ends_with_its_schedule() -> None:
    bridge = Bridge()
    body, monday = {"schedule_id": id_of(put_schedule(bridge))}, {"Idempotency-Key": "monday"}

    def away(method: str, _path: str) -> None:
        if method == "POST":
            raise KubeUnavailableError("no answer")

    bridge.kubernetes.before = away
    assert (await ask(bridge, "POST", "trigger", body, **monday))[0] == 503
    (slot,) = await bridge.ledger.held()
    bridge.kubernetes.before = lambda _method, _path: None
    bridge.kubernetes.remove("pipelineschedules", "default", "nightly")
    assert (await ask(bridge, "POST", "trigger", body, **monday))[0] == 404
    assert await bridge.ledger.held() == [slot]  # not renewed: healing gives it back


async def test_a_trigger_with_two_idempotency_keys_is_refused() -> None:
    bridge = Bridge()
    async with bridge.client(bridge.key(Scope.RUN)) as client:
        headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
        answer = await client.post(
            "/scheduler/trigger", json={"schedule_id": id_of(put_schedule(bridge))}, headers=headers
        )
    assert (answer.status_code, runs(bridge)) == (422, [])


@pytest.mark.parametrize(("body", "status"), [({}, 200), ({"force": True}, 422)])
async def test_a_deletion_has_no_fields(body: Any, status: int) -> None:
    bridge = Bridge()
    path = f"schedule/{id_of(put_schedule(bridge))}"
    found, answer = await ask(bridge, "DELETE", path, body)
    assert (found, len(stored(bridge))) == (status, int(status == 422))
    assert status == 200 or answer["errors"] == [{"field": "force", "expected": "no such field"}]


async def test_a_trigger_over_a_limit_is_refused_and_makes_nothing() -> None:
    bridge = Bridge()
    bridge.plans.limits["acme"] = Limits(0, 10, 10)
    body = {"schedule_id": id_of(put_schedule(bridge))}
    assert (await refused(bridge, "POST", "trigger", body))[:2] == (429, "daily-limit-reached")
    assert runs(bridge) == []


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


@pytest.mark.parametrize("body", ["[]", '{"is_enabled": tru}', '{"is_enabled": true, "is_enabled": false}'])
async def test_a_body_that_is_no_json_object_is_refused(body: str) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    async with bridge.client(bridge.key(Scope.SCHEDULE)) as client:
        answer = await client.put(f"/scheduler/schedule/{id_of(schedule)}", content=body)
    assert answer.status_code == 400
    assert bridge.kubernetes.writes() == []
