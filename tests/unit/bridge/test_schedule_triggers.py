"""A trigger starts the schedule's run, once for an idempotency key, with the dates of now."""

from datetime import UTC, datetime

import pytest

from pipeline_core.admission.subscription import Limits
from pipeline_core.api_keys import Scope
from pipeline_core.kube.api import KubeUnavailableError
from support.bridge import Bridge
from support.bridge_schedules import ask, id_of, put_schedule, refused, runs


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


async def test_a_trigger_over_a_limit_is_refused_and_makes_nothing() -> None:
    bridge = Bridge()
    bridge.plans.limits["acme"] = Limits(0, 10, 10)
    body = {"schedule_id": id_of(put_schedule(bridge))}
    assert (await refused(bridge, "POST", "trigger", body))[:2] == (429, "daily-limit-reached")
    assert runs(bridge) == []
