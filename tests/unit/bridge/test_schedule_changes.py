"""A change of a schedule touches what it names, upon what others have written meanwhile, or is refused."""

import uuid
from typing import Any

import pytest

from pipeline_core.api_keys import Scope
from pipeline_core.kube.api import Json
from support.bridge import Bridge
from support.bridge_schedules import BODY, ask, id_of, put_schedule, refused, stored


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


@pytest.mark.parametrize("body", ["[]", '{"is_enabled": tru}', '{"is_enabled": true, "is_enabled": false}'])
async def test_a_body_that_is_no_json_object_is_refused(body: str) -> None:
    bridge = Bridge()
    schedule = put_schedule(bridge)
    async with bridge.client(bridge.key(Scope.SCHEDULE)) as client:
        answer = await client.put(f"/scheduler/schedule/{id_of(schedule)}", content=body)
    assert answer.status_code == 400
    assert bridge.kubernetes.writes() == []
