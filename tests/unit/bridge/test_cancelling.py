"""A run is cancelled whether the operator has seen it or not, whoever else is about to do something with it."""

from typing import Any

import pytest

from pipeline_bridge.auth import Principal
from pipeline_bridge.cancelling import Cancelled
from pipeline_bridge.problems import Problem
from pipeline_core.api_keys import Scope
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from support.bridge import Bridge
from support.bridge_and_operator import KEY, Both, CrashError
from support.fake_kubernetes import FakeKubernetes


async def comes_to_nothing(both: Both, run_id: str) -> None:
    """The operator ends it as cancelled, with nothing started and everything given back."""
    await both.operate()
    stored = both.stored(run_id)
    assert (stored.phase, stored.object_uid is not None) == (Phase.CANCELLED, True)
    (body,) = both.objects()
    assert body["status"]["phase"] == "Cancelled"
    assert not [key for key in both.kubernetes.objects if key[0] == "jobs"]
    assert both.held() == []
    assert both.ledger.usage("acme").day_used == 0


async def test_a_run_that_works_is_stopped(both: Both) -> None:
    run_id = await both.post()
    await both.operate()
    both.start_pods()
    await both.operate()
    assert await both.cancel(run_id) == Cancelled(True, Phase.RUNNING)
    assert await both.cancel(run_id) == Cancelled(True, Phase.RUNNING)
    await both.operate()
    both.stop_deleted_pods()
    both.collect_garbage()
    await both.operate()
    assert both.stored(run_id).phase is Phase.CANCELLED
    assert both.held() == []


async def test_a_run_that_the_operator_hasnt_seen_is_cancelled(both: Both) -> None:
    run_id = await both.post()
    assert await both.cancel(run_id) == Cancelled(True, Phase.PENDING)
    await comes_to_nothing(both, run_id)


async def test_a_run_whose_object_isnt_made_is_cancelled(both: Both) -> None:
    run_id = await both.reserve()
    assert await both.cancel(run_id) == Cancelled(True, Phase.PENDING)
    assert await both.post(KEY) == run_id  # whoever was about to make it finds it
    await comes_to_nothing(both, run_id)
    assert await both.post(KEY) == run_id


async def test_what_is_made_in_the_same_moment_is_cancelled(both: Both) -> None:
    run_id = await both.reserve()
    create = both.kubernetes._post

    def made_meanwhile(*arguments: object) -> object:
        both.kubernetes._post = create  # type: ignore[method-assign]
        create(*arguments)  # type: ignore[arg-type]
        raise KubeError(409, "AlreadyExists", "it is there")

    both.kubernetes._post = made_meanwhile  # type: ignore[method-assign,assignment]
    assert await both.cancel(run_id) == Cancelled(True, Phase.PENDING)
    await comes_to_nothing(both, run_id)


async def test_another_object_of_its_name_isnt_cancelled_in_its_place(both: Both) -> None:
    run_id = await both.reserve()
    name = both.stored(run_id).object_name or ""
    both.apply(name, runId="run_another")
    with pytest.raises(KubeError, match="another object has the name"):
        await both.cancel(run_id)
    assert "cancel" not in both.run(name)["spec"]
    both.pass_time(61)
    await both.healing.round()
    assert await both.cancel(run_id) == Cancelled(False, Phase.FAILED)
    assert both.held() == []


async def test_a_run_that_nobody_has_made_for_a_minute_is_over(both: Both) -> None:
    run_id = await both.reserve()
    both.pass_time(61)
    await both.healing.round()
    assert await both.cancel(run_id) == Cancelled(False, Phase.FAILED)
    assert both.objects() == []


async def test_a_run_that_is_over_stays_as_it_is(both: Both) -> None:
    run_id = await both.post()
    await both.come_to_rest()
    assert await both.cancel(run_id) == Cancelled(False, Phase.COMPLETED)
    assert "cancel" not in both.objects()[0]["spec"]


async def test_the_object_may_know_more_than_the_record(both: Both) -> None:
    run_id = await both.post()
    (body,) = both.objects()
    both.kubernetes.put(names.RUNS, {**body, "status": {"phase": "Completed"}})
    assert await both.cancel(run_id) == Cancelled(False, Phase.COMPLETED)


async def test_a_run_whose_object_was_deleted_ends_by_that(both: Both) -> None:
    run_id = await both.post()
    await both.operate()
    (body,) = both.objects()
    both.kubernetes.remove(names.RUNS, "default", body["metadata"]["name"])
    assert await both.cancel(run_id) == Cancelled(True, Phase.VALIDATING)
    assert both.objects() == []


async def test_another_object_of_the_same_name_is_left_alone(both: Both) -> None:
    uid = both.apply("billing")
    await both.operate()
    run_id = both.record(uid).run_id
    both.kubernetes.remove(names.RUNS, "default", "billing")
    both.apply("billing")
    assert await both.cancel(run_id) == Cancelled(True, Phase.VALIDATING)
    assert "cancel" not in both.run("billing")["spec"]


@pytest.mark.parametrize("run_id", ["run_0", "run_" + "a" * 49, "RUN_0", "run_\0", "", "x" * 10_000])
async def test_a_run_that_isnt_there_isnt_found(both: Both, run_id: str) -> None:
    with pytest.raises(Problem) as refused:
        await both.cancel(run_id)
    assert (refused.value.status, refused.value.reason) == (404, "RunNotFound")
    assert refused.value.detail == f"Run not found: {run_id[:64]}"


async def test_nor_is_another_organizations(both: Both) -> None:
    run_id = await both.post()
    stranger = Principal("k2", "globex", frozenset({Scope.RUN}))
    with pytest.raises(Problem, match=f"^Run not found: {run_id}$"):
        await both.cancel(run_id, stranger)
    assert "cancel" not in both.objects()[0]["spec"]


@pytest.mark.parametrize("error", [KubeUnavailableError("no answer"), KubeError(403, "Forbidden", "no right")])
async def test_what_the_api_server_says_is_passed_on(both: Both, error: Exception) -> None:
    run_id = await both.post()

    def fault(part: str, _method: str, _after: bool) -> None:
        if part == "cluster":
            raise error

    both.fault = fault
    with pytest.raises(type(error)):
        await both.cancel(run_id)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("has_object", [False, True], ids=["unmade", "made"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_cancellation_that_is_asked_for_again_after_a_crash_anywhere_holds(
    both: Both, nth: int, has_object: bool, after: bool
) -> None:
    run_id = await (both.post(KEY) if has_object else both.reserve())
    asked = 0

    def dies(_part: str, _method: str, is_after: bool) -> None:
        nonlocal asked
        asked += not is_after
        if asked == nth and is_after is after:
            raise CrashError

    both.fault = dies
    try:
        await both.cancel(run_id)
    except CrashError:
        both.fault = lambda _part, _method, _after: None
        assert (await both.cancel(run_id)).success
    both.fault = lambda _part, _method, _after: None
    await comes_to_nothing(both, run_id)


@pytest.mark.parametrize("path", ["run/acme/gcp/cost/billing", "cancel/acme/run_0f8c1e5b7a924d06b3d1c2a4e6f80917"])
async def test_a_key_without_the_scope_may_neither_start_nor_cancel(path: str) -> None:
    bridge = Bridge(kubernetes=FakeKubernetes())
    async with bridge.client(bridge.key(Scope.READ, Scope.SCHEDULE)) as client:
        answer = await client.post(f"/api/v1/pipelines/{path}")
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:pipelines:problem:scope-missing")
    assert bridge.kubernetes.objects == {}


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"json": {}}, 200, ""),
        ({"content": b""}, 200, ""),
        ({"json": {"force": True, "after": 5}}, 422, "force: expected no such field; after: expected no such field"),
        ({"json": []}, 400, "expected a JSON object"),
        ({"data": {"force": "true"}}, 415, "Content-Type: 'application/x-www-form-urlencoded', expected application/"),
    ],
)
async def test_a_cancellation_has_no_fields(sent: dict[str, Any], status: int, words: str) -> None:
    bridge = Bridge(kubernetes=FakeKubernetes())
    async with bridge.client(bridge.key(Scope.RUN)) as client:
        run_id = (await client.post("/pipelines/run/acme/gcp/cost/billing")).json()["run_id"]
        answer = await client.post(f"/pipelines/cancel/acme/{run_id}", **sent)
    assert answer.status_code == status
    assert words in answer.json().get("detail", "")
    (body,) = (body for (plural, _, _), body in bridge.kubernetes.objects.items() if plural == names.RUNS)
    assert body["spec"].get("cancel", False) is (status == 200)


async def test_the_endpoints_answers() -> None:
    bridge = Bridge(kubernetes=FakeKubernetes())
    async with bridge.client(bridge.key(Scope.RUN)) as client:
        for prefix in ("", "/api/v1"):
            answer = await client.post(f"{prefix}/pipelines/run/acme/gcp/cost/gcp_billing", json={"date": "2026-11-21"})
            run_id = answer.json()["run_id"]
            assert (answer.status_code, answer.json()) == (200, {"run_id": run_id, "status": "pending"})
            answer = await client.post(f"{prefix}/pipelines/cancel/acme/{run_id}")
            assert (answer.status_code, answer.json()) == (200, {"success": True, "status": "pending"})
            answer = await client.post(f"{prefix}/pipelines/cancel/globex/{run_id}")
            assert answer.status_code == 403
