"""Whatever befalls the bridge at any one call, a run is started once or not at all, and no slot is held by nothing."""

import asyncio
from collections.abc import Callable

import pytest

from pipeline_bridge.problems import Problem
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from support.bridge_and_operator import KEY, Both
from support.bridge_faults import ask, at, dies, fails, is_refused, kubernetes

WAYS = [
    pytest.param(befalls, after, id=f"{befalls.__name__}-{'after' if after else 'before'}")
    for befalls, after in [(fails, False), (fails, True), (is_refused, False), (dies, False), (dies, True)]
]
# What a run costs with an idempotency key: the key and the facts at the same time, the slot, the object.
CALLS = ["idempotency.bind", "facts.get", "ledger.reserve", "cluster.create_run"]
# What happens between the first request and the next with its key.
MEANWHILE = ["nothing", "operator", "a minute", "a minute, operator"]


async def between(both: Both, what: str) -> None:
    if "minute" in what:
        both.pass_time(61)
        await both.healing.round()
    if "operator" in what:
        await both.operate()


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("nth", range(1, len(CALLS) + 1), ids=CALLS)
@pytest.mark.parametrize(("befalls", "after"), WAYS)
async def test_a_request_that_is_sent_again_with_its_key_starts_one_run(
    both: Both, befalls: Callable[[str], BaseException], after: bool, nth: int, meanwhile: str
) -> None:
    both.fault = at(nth, befalls, after=after)
    first = await ask(both, KEY)
    both.fault = lambda _part, _method, _after: None
    await between(both, meanwhile)
    second = await ask(both, KEY)
    assert second is not None
    assert first in {None, second}
    assert [body["spec"]["runId"] for body in both.objects()] == [second]
    assert (both.live(), both.held()) == ([second], [second])
    assert await ask(both, KEY) == second
    await both.come_to_rest()
    assert await ask(both, KEY) == second
    assert both.stored(second).phase is Phase.COMPLETED
    assert both.phases().count(Phase.COMPLETED) == len(both.objects()) == 1
    assert both.held() == []
    assert both.ledger.usage("acme").day_used == 1


@pytest.mark.parametrize("has_key", [True, False], ids=["with a key", "without"])
@pytest.mark.parametrize("nth", range(1, len(CALLS) + 1), ids=CALLS)
@pytest.mark.parametrize(("befalls", "after"), WAYS)
async def test_a_request_that_is_never_sent_again_leaves_a_run_or_nothing(
    both: Both, befalls: Callable[[str], BaseException], after: bool, nth: int, has_key: bool
) -> None:
    both.fault = at(nth if has_key else max(nth - 1, 1), befalls, after=after)
    told = await ask(both, KEY if has_key else None)
    assert len(both.objects()) <= 1
    await both.come_to_rest()
    assert both.held() == []
    assert both.live() == []
    assert both.phases().count(Phase.COMPLETED) == len(both.objects()) == both.ledger.usage("acme").day_used
    if told is not None:
        assert both.stored(told).phase is Phase.COMPLETED


async def test_what_a_run_costs(both: Both) -> None:
    await both.post()
    assert both.calls == ["facts.get", "ledger.reserve", "cluster.create_run"]
    both.pass_time(1)
    await both.come_to_rest()
    both.calls.clear()
    await both.post(KEY)
    assert both.calls == CALLS


async def test_a_connection_that_was_dropped_is_no_reason_to_refuse(both: Both) -> None:
    both.fault = at(3, fails, after=False)
    run_id = await both.post()
    assert both.calls.count("cluster.create_run") == 2
    assert both.live() == [run_id]


async def test_nobody_is_refused_for_a_slot_that_a_bridge_has_left_behind(both: Both) -> None:
    both.fault = at(3, dies, after=False)
    assert await ask(both) is None
    (left,) = both.held()
    both.fault = lambda _part, _method, _after: None
    both.pass_time(59)
    with pytest.raises(Problem, match="Concurrent pipeline limit"):
        await both.post()
    both.pass_time(3)
    run_id = await both.post()
    assert both.held() == both.live() == [run_id]
    assert both.stored(left).error_message == "The PipelineRun that this run was asked for with was never made"


@pytest.mark.parametrize("is_seen", [False, True])
async def test_a_slot_whose_object_is_there_is_the_operators(both: Both, is_seen: bool) -> None:
    run_id = await both.post()
    if is_seen:
        await both.operate()
        both.kubernetes.remove("pipelineruns", "default", both.stored(run_id).object_name or "")
    both.pass_time(3600)
    with pytest.raises(Problem, match="Concurrent pipeline limit"):
        await both.post()
    assert both.held() == [run_id]


@pytest.mark.parametrize("error", [KubeUnavailableError("no answer"), KubeError(403, "Forbidden", "no right")])
async def test_a_slot_that_cannot_be_looked_at_is_in_use(both: Both, error: Exception) -> None:
    both.fault = at(3, dies, after=False)
    assert await ask(both) is None
    both.pass_time(61)
    kubernetes(both, error)
    with pytest.raises(Problem, match="Concurrent pipeline limit"):
        await both.post()
    assert len(both.held()) == 1


async def test_runs_refused_in_a_burst_are_reason_for_one_look(both: Both) -> None:
    await both.post()
    both.calls.clear()

    async def burst() -> None:
        for each in await asyncio.gather(*(both.post() for _ in range(20)), return_exceptions=True):
            assert isinstance(each, Problem)

    await burst()
    await burst()
    assert both.calls.count("ledger.held") == 1
    both.pass_time(3)
    await burst()
    assert both.calls.count("ledger.held") == 2
