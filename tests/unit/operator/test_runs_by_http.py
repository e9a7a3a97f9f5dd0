"""A run that the bridge has reserved and recorded is the same run to the operator: one slot, one start, one end."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from pipeline_core.admission.tenancy import TenancyMode
from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import StoreUnavailableError
from support.bridge_and_operator import KEY, Both, well


@pytest.fixture
def both() -> Both:
    both = Both()
    both.allow(1)
    return both


def becomes_globexs(both: Both) -> None:
    """Each organization has namespaces of its own, and the one of this world is another's."""
    both.tenancy = TenancyMode.NAMESPACE_PER_ORGANIZATION
    namespace = {"name": "default", "namespace": "", "labels": {"pipelines.dev/org": "globex"}}
    both.kubernetes.put("namespaces", {"metadata": namespace})
    both.start_operator()


def delete_later(body: Json) -> Json:
    """The object as a deletion leaves it that something holds up."""
    return {**body, "metadata": {**body["metadata"], "deletionTimestamp": "2026-11-22T03:00:00Z"}}


def first(both: Both, method: str, meanwhile: Callable[[], Awaitable[Any]]) -> None:
    """Have something happen right before the operator calls this method of the ledger."""
    work = getattr(both.ledger, method)

    async def call(*arguments: Any, **named: Any) -> Any:
        setattr(both.ledger, method, work)
        await meanwhile()
        return await work(*arguments, **named)

    setattr(both.ledger, method, call)


async def test_it_costs_the_api_server_what_one_by_kubectl_costs(both: Both) -> None:
    both.allow(2)
    uid = both.apply("billing")
    await both.reconcile(uid)
    by_kubectl = [method for method, _ in both.kubernetes.calls]
    run_id = await both.post()
    both.kubernetes.calls.clear()
    await both.reconcile(next(body["metadata"]["uid"] for body in both.objects() if body["metadata"]["uid"] != uid))
    assert [method for method, _ in both.kubernetes.calls] == by_kubectl
    assert both.stored(run_id).job_name == both.objects()[1]["metadata"]["name"]
    assert sorted(both.held()) == sorted(both.live())


async def test_it_takes_no_second_slot(both: Both) -> None:
    run_id = await both.post()
    await both.operate()
    await both.operate()
    assert both.held() == [run_id]
    assert both.ledger.usage("acme").day_used == 1
    await both.come_to_rest()
    assert both.stored(run_id).phase is Phase.COMPLETED
    assert both.held() == []


async def test_an_operator_that_comes_late_finds_it_and_healing_leaves_it(both: Both) -> None:
    run_id = await both.post()
    both.pass_time(3600)
    await both.healing.round()
    assert both.held() == [run_id]
    await both.operate()
    assert both.stored(run_id).job_name is not None


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "known"])
async def test_a_refusal_by_the_operator_gives_the_slot_back(both: Both, seen: bool) -> None:
    run_id = await both.post()
    both.plans.status["acme"] = "SUSPENDED"
    if seen:
        both.watch()
    await both.operate()
    (body,) = both.objects()
    stored = both.stored(run_id)
    assert (stored.phase, stored.refusal, stored.object_uid) == (
        Phase.FAILED,
        "SubscriptionInactive",
        body["metadata"]["uid"],
    )
    assert body["status"]["phase"] == "Failed"
    assert both.held() == []
    assert both.ledger.usage("acme").day_used == 0


async def test_one_in_a_namespace_that_is_anothers_by_now_gives_its_slot_back(both: Both) -> None:
    run_id = await both.post()
    becomes_globexs(both)
    await both.operate()
    assert both.held() == [run_id]  # the record isn't touched for an object in another's namespace
    both.pass_time(61)
    await both.healing.round()
    stored = both.stored(run_id)
    assert (stored.phase, stored.object_uid) == (Phase.FAILED, None)
    assert stored.error_message == both.objects()[0]["status"]["message"]
    assert "expected globex, as namespace default names it" in str(stored.error_message)
    assert both.held() == []


async def test_one_cancelled_in_a_namespace_that_is_anothers_by_now_gives_its_slot_back(both: Both) -> None:
    run_id = await both.post()
    becomes_globexs(both)
    await both.cancel(run_id)
    await both.operate()
    assert (both.stored(run_id).phase, both.stored(run_id).object_uid) == (Phase.PENDING, None)
    both.pass_time(61)
    await both.healing.round()
    assert (both.stored(run_id).phase, both.stored(run_id).object_uid) == (Phase.FAILED, None)
    assert both.held() == []


@pytest.mark.parametrize("end", ["cancelled", "being deleted"])
async def test_a_strangers_object_that_ends_before_it_began_takes_nothing_of_the_run_it_names(
    both: Both, end: str
) -> None:
    run_id = await both.reserve()
    becomes_globexs(both)
    uid = both.apply("forged", runId=run_id, cancel=end == "cancelled")
    if end == "being deleted":  # with a finalizer of the stranger's, or in the foreground
        both.kubernetes.put(names.RUNS, delete_later(both.run("forged")))
    await both.reconcile(uid)
    assert (both.status("forged")["phase"], both.status("forged")["conditions"][0]["reason"]) == (
        "Failed",
        "WrongNamespace",
    )
    assert (both.stored(run_id).phase, both.stored(run_id).object_uid) == (Phase.PENDING, None)
    assert both.held() == [run_id]
    assert both.ledger.usage("acme").day_used == 1
    both.kubernetes.remove(names.RUNS, "default", "forged")
    await both.reconcile(uid)
    assert both.held() == both.live() == [run_id]


async def test_another_object_that_claims_its_id_gets_nothing(both: Both) -> None:
    run_id = await both.post()
    await both.operate()
    uid = both.apply("forged", runId=run_id)
    await both.reconcile(uid)
    assert both.status("forged")["phase"] == "Failed"
    assert both.held() == [run_id]
    assert both.stored(run_id).object_uid != uid


async def test_what_nobody_makes_is_ended_after_a_minute(both: Both) -> None:
    run_id = await both.reserve()
    await both.healing.round()
    assert both.held() == [run_id]
    both.pass_time(61)
    await both.healing.round()
    stored = both.stored(run_id)
    assert stored.error_message == "The PipelineRun that this run was asked for with was never made"
    assert both.held() == []


async def test_a_request_that_is_sent_again_while_healing_looks_goes_on(both: Both) -> None:
    run_id = await both.reserve()
    both.pass_time(61)
    # Healing has found no object; it is made before the record is ended.
    first(both, "end_unmade", lambda: both.post(KEY))
    await both.healing.round()
    assert both.live() == both.held() == [run_id]
    await both.come_to_rest()
    assert both.stored(run_id).phase is Phase.COMPLETED


async def test_an_object_that_is_seen_while_healing_looks_goes_on(both: Both) -> None:
    run_id = await both.reserve()
    both.pass_time(61)

    async def made_and_seen() -> None:
        await both.post(KEY)
        await both.operate()
        both.pass_time(61)

    first(both, "end_unmade", made_and_seen)
    await both.healing.round()
    assert both.live() == both.held() == [run_id]


async def test_a_request_that_comes_after_healing_is_another_run(both: Both) -> None:
    run_id = await both.reserve()
    both.pass_time(61)
    first(both, "reserve", both.healing.round)  # it has read the record, and healing is faster
    again = await both.post(KEY)
    assert again != run_id
    assert both.live() == both.held() == [again]
    assert [body["spec"]["runId"] for body in both.objects()] == [again]


async def test_an_object_that_is_made_after_healing_shows_the_records_end(both: Both) -> None:
    both.fault = well
    run_id = ""

    async def slow(*arguments: Any, **named: Any) -> Any:
        nonlocal run_id
        (run_id,) = both.held()
        both.pass_time(61)
        await both.healing.round()
        return await create(*arguments, **named)

    create = both.parts.cluster._part.create_run  # type: ignore[attr-defined]
    both.parts.cluster._part.create_run = slow  # type: ignore[attr-defined]
    await both.post()
    await both.operate()
    (body,) = both.objects()
    assert (body["status"]["phase"], both.stored(run_id).phase) == ("Failed", Phase.FAILED)
    assert both.held() == []
    assert not [key for key in both.kubernetes.objects if key[0] == "jobs"]


async def test_a_slot_whose_namespace_is_gone_comes_back(both: Both) -> None:
    await both.reserve()
    both.pass_time(61)

    def refused(_method: str, path: str) -> None:
        if "/namespaces/default/" in path:
            raise KubeError(403, "Forbidden", "no rights in the namespace")

    both.kubernetes.before = refused
    await both.healing.round()
    assert both.held() == []


@pytest.mark.parametrize("error", [KubeError(403, "Forbidden", "no right"), KubeUnavailableError("no answer")])
async def test_what_cant_be_looked_at_is_kept(both: Both, error: Exception) -> None:
    run_id = await both.reserve()
    both.pass_time(61)
    both.kubernetes.put("namespaces", {"metadata": {"name": "default", "namespace": ""}})

    def refused(_method: str, path: str) -> None:
        if "/pipelineruns/" in path:
            raise error

    both.kubernetes.before = refused
    with suppress(KubeUnavailableError):
        await both.healing.round()
    assert both.held() == [run_id]


async def test_postgresql_away_at_the_operators_first_look_changes_nothing(both: Both) -> None:
    run_id = await both.post()

    def away(method: str) -> None:
        if method == "reserve":
            raise StoreUnavailableError("no answer")

    both.records.fault = away
    with pytest.raises(StoreUnavailableError):
        await both.operate()
    both.records.fault = lambda _method: None
    await both.come_to_rest()
    assert both.stored(run_id).phase is Phase.COMPLETED
    assert both.ledger.usage("acme").day_used == 1
