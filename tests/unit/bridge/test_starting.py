"""Whatever befalls the bridge at any one call, a run is started once or not at all, and no slot is held by nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pipeline_bridge.problems import Problem
from pipeline_bridge.run_objects import ScheduleRef
from pipeline_bridge.wanted import IdempotencyKey
from pipeline_core.admission.admit import Facts
from pipeline_core.admission.subscription import Limits, OrganizationNotFoundError, SubscriptionInactiveError
from pipeline_core.errors import (
    IntegrationNotActiveError,
    ParametersInvalidError,
    PipelineNotFoundError,
    PipelinesError,
    UnknownProviderError,
)
from pipeline_core.kube.api import KubeError, KubeNotReachedError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import IdempotencyKeyReusedError, StoreUnavailableError
from support.bridge_and_operator import KEY, Both, CrashError, Fault
from support.fake_ledger import FakeFacts

UID = "0f8c1e5b-7a92-4d06-b3d1-c2a4e6f80917"


@pytest.fixture
def both() -> Both:
    both = Both()
    both.allow(1)
    return both


def fails(part: str) -> Exception:
    return KubeUnavailableError("no answer") if part == "cluster" else StoreUnavailableError("no answer")


def is_refused(part: str) -> Exception:
    return KubeNotReachedError("no connection") if part == "cluster" else StoreUnavailableError("no connection")


def dies(_part: str) -> BaseException:
    return CrashError()


def at(nth: int, befalls: Callable[[str], BaseException], *, after: bool) -> Fault:
    """That befalls the nth call, before it is carried out or after it."""
    asked = 0

    def fault(part: str, _method: str, is_after: bool) -> None:
        nonlocal asked
        asked += not is_after
        if asked == nth and is_after is after:
            raise befalls(part)

    return fault


async def ask(both: Both, key: IdempotencyKey | None = None) -> str | None:
    """A request's answer; None where there was none, or that it should be sent again."""
    try:
        return await both.post(key)
    except (CrashError, StoreUnavailableError, KubeUnavailableError):
        return None
    except Problem as problem:
        if problem.status != 503:
            raise
        return None


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


def kubernetes(both: Both, error: Exception) -> None:
    def fault(part: str, _method: str, _after: bool) -> None:
        if part == "cluster":
            raise error

    both.fault = fault


async def test_without_kubernetes_the_slot_is_given_back_at_once(both: Both) -> None:
    kubernetes(both, KubeNotReachedError("no connection"))
    with pytest.raises(KubeNotReachedError):
        await both.post()
    (run_id,) = both.records.rows
    stored = both.stored(run_id)
    assert (stored.phase, stored.reason, stored.error_message) == (
        Phase.FAILED,
        "Rejected",
        "The Kubernetes API couldn't be reached",
    )
    assert both.held() == []
    assert both.ledger.usage("acme").day_used == 0


async def test_where_it_isnt_known_whether_the_run_was_made_its_id_is_told(both: Both) -> None:
    kubernetes(both, KubeUnavailableError("no answer from 10.0.0.1"))
    with pytest.raises(Problem) as refused:
        await both.post()
    (run_id,) = both.held()
    problem = refused.value
    assert (problem.status, problem.reason) == (503, "KubernetesUnavailable")
    assert problem.headers == {"Retry-After": "5"}
    assert problem.members == {"run_id": run_id}
    assert "10.0.0.1" not in problem.detail


REFUSED = KubeError(403, "Forbidden", "exceeded quota: runs")


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


async def test_a_name_that_another_object_has_isnt_taken_for_the_run(both: Both) -> None:
    def forge(part: str, _method: str, after: bool) -> None:
        if part == "cluster" and not after and not both.objects():
            both.apply(both.stored(both.held()[0]).object_name or "", runId="run_another")

    both.fault = forge
    with pytest.raises(KubeError, match="already exists"):
        await both.post(KEY)
    assert both.held() == []
    (run_id,) = both.records.rows
    assert both.stored(run_id).error_message == "The PipelineRun wasn't made: another object has its name"
    again = await both.post(KEY)
    assert both.live() == both.held() == [again] != [run_id]


@pytest.mark.parametrize("befalls", [KubeUnavailableError("no answer"), KubeError(404, "NotFound", "deleted since")])
async def test_whose_a_name_is_that_cannot_be_read_isnt_known(both: Both, befalls: Exception) -> None:
    def fault(_part: str, method: str, _after: bool) -> None:
        if method == "create_run":
            raise KubeError(409, "AlreadyExists", "it is there")
        if method == "get_run" and not isinstance(befalls, KubeError):
            raise befalls

    both.fault = fault
    with pytest.raises(Problem) as refused:
        await both.post()
    assert both.held() == [refused.value.members["run_id"]]


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


@pytest.mark.parametrize(
    ("status", "message", "told"),
    [
        (403, "exceeded quota: runs", "exceeded quota: runs"),
        (422, "spec.org: no", "spec.org: no"),
        # Its own users are nobody else's business.
        (403, 'User "bridge" cannot create it', "The Kubernetes API refuses the bridge; an operator has to mend it"),
        (404, "no such path", "The Kubernetes API refuses the bridge; an operator has to mend it"),
    ],
)
async def test_a_run_that_the_api_server_refuses_ends_with_its_words(
    both: Both, status: int, message: str, told: str
) -> None:
    kubernetes(both, KubeError(status, "Forbidden", message))
    with pytest.raises(KubeError):
        await both.post()
    (run_id,) = both.records.rows
    assert both.stored(run_id).error_message == f"The PipelineRun wasn't made: {told}"
    assert both.held() == []


def loses_answer_before(both: Both, error: Exception) -> None:
    """The API server's first answer is lost, and the next call fails before it is carried out."""
    answers = [KubeUnavailableError("no answer"), error]

    def fault(part: str, _method: str, after: bool) -> None:
        if part == "cluster" and (after or len(answers) == 1):
            raise answers.pop(0)

    both.fault = fault


async def test_no_connection_after_a_lost_answer_says_nothing_about_the_run(both: Both) -> None:
    loses_answer_before(both, KubeNotReachedError("no connection"))
    with pytest.raises(Problem) as refused:
        await both.post()
    run_id = refused.value.members["run_id"]
    assert both.held() == [run_id]
    await both.come_to_rest()
    assert both.stored(str(run_id)).phase is Phase.COMPLETED


async def test_a_call_that_took_long_to_fail_isnt_made_again(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline_bridge.making._AGAIN_WITHIN_SECONDS", 0.0)
    kubernetes(both, KubeUnavailableError("no answer"))
    with pytest.raises(Problem):
        await both.post()
    assert both.calls.count("cluster.create_run") == 1


async def test_a_refusal_after_a_lost_answer_says_nothing_about_the_run(both: Both) -> None:
    loses_answer_before(both, KubeError(403, "Forbidden", "exceeded quota: runs"))
    with pytest.raises(Problem) as refused:
        await both.post()
    run_id = refused.value.members["run_id"]
    await both.come_to_rest()
    assert both.stored(str(run_id)).phase is Phase.COMPLETED


async def test_the_slot_of_a_refused_run_is_healed_where_postgresql_is_away_by_then(both: Both) -> None:
    def fault(part: str, method: str, _after: bool) -> None:
        if part == "cluster":
            raise KubeNotReachedError("no connection")
        if method == "end_unmade":
            raise StoreUnavailableError("no connection")

    both.fault = fault
    with pytest.raises(Problem, match="ask for its status"):
        await both.post()
    assert len(both.held()) == 1
    await both.come_to_rest()
    assert both.held() == both.live() == []


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


REFUSALS: list[tuple[dict[str, Any], type[PipelinesError]]] = [
    ({"provider": "gcq"}, UnknownProviderError),
    ({"provider": "g\0p"}, UnknownProviderError),
    ({"provider": "g" * 10_000}, UnknownProviderError),
    ({"domain": "usage"}, PipelineNotFoundError),
    ({"pipeline": "../billing"}, PipelineNotFoundError),
    ({"parameters": {"dat": "2026-11-21"}}, ParametersInvalidError),
    ({"parameters": {"date": "yesterday"}}, ParametersInvalidError),
    ({"parameters": {"date": "x" * 1_025}}, ParametersInvalidError),
    ({"parameters": {f"p{n}": n for n in range(65)}}, ParametersInvalidError),
]


@pytest.mark.parametrize(("changes", "error"), REFUSALS)
async def test_what_is_refused_holds_nothing(both: Both, changes: dict[str, Any], error: type[PipelinesError]) -> None:
    with pytest.raises(error):
        await both.post(KEY, **changes)
    assert both.records.rows == both.ledger.rows == both.kubernetes.objects == {}


async def test_who_may_not_run_is_refused(both: Both) -> None:
    both.plans.secrets["acme"] = "globex-gcp"
    with pytest.raises(IntegrationNotActiveError, match="the Secret must be acme's own"):
        await both.post()
    both.plans.integrated.clear()
    with pytest.raises(IntegrationNotActiveError):
        await both.post()
    both.plans.status["acme"] = "SUSPENDED"
    with pytest.raises(SubscriptionInactiveError):
        await both.post()
    both.plans.limits.clear()
    with pytest.raises(OrganizationNotFoundError):
        await both.post()
    assert both.records.rows == both.kubernetes.objects == {}


@pytest.mark.parametrize(
    ("limits", "name", "seconds", "detail"),
    [
        (Limits(0, 9, 9), "daily", "3600", "Daily pipeline limit (0) reached"),
        (Limits(9, 0, 9), "monthly", "86400", "Monthly pipeline limit (0) reached"),
        (Limits(9, 9, 0), "concurrent", "30", "Concurrent pipeline limit (0) reached"),
        (Limits(9, 9, None), "concurrent", "30", "Concurrent pipeline limit (not set) reached"),
    ],
)
async def test_a_limit_is_named_with_what_is_left(
    both: Both, limits: Limits, name: str, seconds: str, detail: str
) -> None:
    both.plans.limits["acme"] = limits
    with pytest.raises(Problem) as refused:
        await both.post()
    problem = refused.value
    assert (problem.status, problem.reason, problem.detail) == (429, f"{name.capitalize()}LimitReached", detail)
    assert problem.title == f"{name.capitalize()} pipeline limit reached"
    left = {"daily": 9, "monthly": 9, "concurrent": 9, name: 0}
    assert problem.members == {"limit": {"name": name, "limit": 0, "used": 0, "remaining": 0}, "remaining": left}
    assert problem.headers == {
        "Retry-After": seconds,
        "X-Quota-Limit": name,
        **{f"X-Quota-Remaining-{each.capitalize()}": str(count) for each, count in left.items()},
    }
    assert both.records.rows == both.kubernetes.objects == {}


async def test_a_schedules_run_is_made_beside_it(both: Both) -> None:
    schedule = ScheduleRef("elsewhere", "nightly", UID)
    run_id = await both.post(schedule=schedule, template={"timeoutSeconds": 60})
    (body,) = both.objects()
    assert body["metadata"]["namespace"] == both.stored(run_id).object_namespace == "elsewhere"
    assert body["spec"]["scheduleRef"] == {"name": "nightly", "uid": UID}
    assert body["spec"]["timeoutSeconds"] == 60
    assert both.stored(run_id).schedule_id == "sch_0f8c1e5b7a924d06b3d1c2a4e6f80917"


async def test_an_organization_without_a_namespace_holds_nothing(both: Both) -> None:
    both.parts = both.bridge(tenancy="NamespacePerOrganization")
    with pytest.raises(Problem, match="expected a namespace to have the label"):
        await both.post()
    assert both.records.rows == {}
