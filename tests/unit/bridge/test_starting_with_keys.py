"""An idempotency key is one run and one request, whoever sends it at once, again, or after a refusal or a crash."""

import asyncio
from typing import Any

import pytest

from pipeline_bridge.problems import Problem
from pipeline_bridge.wanted import IdempotencyKey
from pipeline_core.admission.admit import Facts
from pipeline_core.kube.api import KubeError, KubeNotReachedError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import IdempotencyKeyReusedError
from support.bridge_and_operator import KEY, Both, CrashError
from support.bridge_faults import REFUSED, ask, at, dies, kubernetes
from support.fake_ledger import FakeFacts


@pytest.mark.parametrize("error", [KubeNotReachedError("no connection"), REFUSED])
async def test_keys_that_are_refused_again_and_again_hold_nothing(both: Both, error: Exception) -> None:
    kubernetes(both, error)
    for number in range(6):  # more than may run at a time
        for _ in range(2):
            with pytest.raises(type(error)):
                await both.post(IdempotencyKey(f"key-{number}", KEY.fingerprint))
            assert both.held() == both.live() == []
    assert both.ledger.usage("acme").day_used == 0
    both.fault = lambda _part, _method, _after: None
    run_id = await both.post(IdempotencyKey("key-0", KEY.fingerprint))
    assert both.live() == both.held() == [run_id]


@pytest.mark.timeout(30)  # it went round for ever
async def test_a_request_whose_run_another_one_has_begun_and_given_up_comes_to_an_end(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubernetes(both, REFUSED)
    waits, the_other_is_done = asyncio.Event(), asyncio.Event()
    get = FakeFacts.get

    async def slow_at_first(facts: FakeFacts, org_slug: str, provider: str) -> Facts:
        monkeypatch.setattr(FakeFacts, "get", get)
        waits.set()
        await the_other_is_done.wait()
        return await get(facts, org_slug, provider)

    monkeypatch.setattr(FakeFacts, "get", slow_at_first)
    first = asyncio.create_task(both.post(KEY))
    await waits.wait()
    with pytest.raises(KubeError):
        await both.post(KEY)
    the_other_is_done.set()
    with pytest.raises(KubeError):
        await first
    assert both.held() == both.live() == []
    assert both.ledger.usage("acme").day_used == 0


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refused_request_that_goes_on_with_a_slot_gives_it_back(both: Both, status: int) -> None:
    both.fault = at(4, dies, after=False)
    assert await ask(both, KEY) is None

    def fault(_part: str, method: str, _after: bool) -> None:
        if method == "create_run":
            raise KubeError(status, "InternalError" if status == 500 else "Forbidden", "a webhook says no")

    both.fault = fault
    with pytest.raises(KubeError):
        await both.post(KEY)
    assert both.held() == both.live() == []


@pytest.mark.parametrize("status", [403, 500])
async def test_a_refusal_isnt_believed_where_the_first_request_has_made_the_object(both: Both, status: int) -> None:
    """Its answer was lost, and it is what fills the quota."""
    both.fault = at(4, dies, after=True)
    assert await ask(both, KEY) is None

    def fault(_part: str, method: str, _after: bool) -> None:
        if method == "create_run":
            raise KubeError(status, "Forbidden", "exceeded quota: runs")

    both.fault = fault
    run_id = await both.post(KEY)
    assert both.live() == both.held() == [run_id]
    await both.come_to_rest()
    assert both.stored(run_id).phase is Phase.COMPLETED


async def test_a_slot_that_another_request_goes_on_with_is_left_to_it(both: Both) -> None:
    """The first is refused after the second has come, and before it has made the object."""
    second: list[asyncio.Task[str]] = []
    has_come, may_go_on = asyncio.Event(), asyncio.Event()
    create = both.parts.cluster._part.create_run  # type: ignore[attr-defined]

    async def refuse_the_first(*arguments: Any) -> Any:
        if second:
            has_come.set()
            await may_go_on.wait()
            return await create(*arguments)
        second.append(asyncio.create_task(both.post(KEY)))
        await has_come.wait()
        raise REFUSED

    both.parts.cluster._part.create_run = refuse_the_first  # type: ignore[attr-defined]
    with pytest.raises(KubeError):
        await both.post(KEY)
    (run_id,) = both.held()
    may_go_on.set()
    assert await second[0] == run_id
    await both.come_to_rest()
    assert both.stored(run_id).phase is Phase.COMPLETED


async def test_the_object_of_a_later_request_has_the_parameters_of_the_record(both: Both) -> None:
    both.fault = at(4, dies, after=False)
    with pytest.raises(CrashError):
        await both.post(KEY, parameters={"start_date": "2026-11-01"})
    both.fault = lambda _part, _method, _after: None
    both.pass_time(50)
    run_id = await both.post(KEY, parameters={"start_date": "2026-11-02"})
    await both.operate()
    (body,) = both.objects()
    recorded = {"start_date": "2026-11-01", "end_date": "2026-11-21"}
    assert dict(both.stored(run_id).parameters) == body["spec"]["parameters"] == recorded
    assert both.stored(run_id).phase is Phase.VALIDATING


async def test_two_at_once_with_the_same_key_are_one_run(both: Both) -> None:
    found = await asyncio.gather(*(both.post(KEY) for _ in range(20)))
    assert len(set(found)) == len(both.objects()) == len(both.records.rows) == 1


async def test_a_key_is_one_requests(both: Both) -> None:
    await both.post(KEY)
    with pytest.raises(IdempotencyKeyReusedError):
        await both.post(IdempotencyKey(KEY.key, b"g" * 32))
    assert len(both.objects()) == 1


async def test_a_refusal_isnt_remembered(both: Both) -> None:
    holder = await both.post()
    with pytest.raises(Problem) as refused:
        await both.post(KEY)
    assert refused.value.status == 429
    bound = both.idempotency.rows["acme", KEY.key][1]
    await both.come_to_rest()
    assert await both.post(KEY) == bound != holder


async def test_a_repeated_request_isnt_admitted_anew(both: Both) -> None:
    both.fault = at(4, dies, after=False)
    assert await ask(both, KEY) is None
    both.fault = lambda _part, _method, _after: None
    both.plans.status["acme"] = "SUSPENDED"
    run_id = await both.post(KEY)
    await both.operate()
    # The operator says no, where everybody can read it.
    assert both.stored(run_id).error_message == "Pipeline execution not allowed for SUSPENDED organizations"
    assert await both.post(KEY) == run_id
    assert both.held() == []


async def test_a_run_that_was_reserved_yesterday_isnt_made_for_today(both: Both) -> None:
    both.fault = at(4, dies, after=False)
    assert await ask(both, KEY) is None
    both.fault = lambda _part, _method, _after: None
    began = both.now()
    both.pass_time(30)
    await both.post(KEY)
    (body,) = both.objects()
    assert body["spec"]["logicalTime"] == began.strftime("%Y-%m-%dT%H:%M:%SZ")
