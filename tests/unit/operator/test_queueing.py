"""Runs over the concurrent limit: who waits, who is refused, who goes next, and how a wait ends."""

from typing import Any

import pytest

from pipeline_core.lifecycle.observed import Published
from pipeline_core.outcome import Outcome
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator import names
from support.operator_world import World

GOOD = Outcome(status="succeeded", records_processed=42)


@pytest.fixture
def world() -> World:
    """One slot."""
    world = World()
    world.allow(1)
    return world


async def apply(world: World, name: str, **spec: Any) -> str:
    """A run that queues, a second after the last, and its first pass."""
    world.pass_time(1)
    uid = world.apply(name, **{"quotaPolicy": "Queue", **spec})
    await world.reconcile(uid)
    return uid


async def end(world: World, name: str) -> None:
    """The run's pod runs to its end, and the operator sees it."""
    world.start_pods()
    world.end_pods(GOOD, of=world.job_of(name))
    await world.reconcile(world.run(name)["metadata"]["uid"])


def admitted(world: World, name: str) -> tuple[str, str, str]:
    (condition,) = [each for each in world.status(name)["conditions"] if each["type"] == "Admitted"]
    return condition["status"], condition["reason"], condition["message"]


def refusal(world: World, name: str) -> tuple[str, str, str, str]:
    status, reason, message = admitted(world, name)
    assert status == "False"
    assert world.record(world.run(name)["metadata"]["uid"]).error_message == message
    return world.status(name)["phase"], reason, message, world.status(name)["message"]


async def test_forty_runs_over_a_limit_of_five_all_complete_by_priority_and_age(world: World) -> None:
    world.allow(5)
    for number in range(40):
        await apply(world, f"run-{number:02}", priority=number % 3)
    order: list[str] = []
    while holders := world.holders():
        assert len(holders) <= 5
        order += [name for name in holders if name not in order]
        await end(world, holders[len(order) % len(holders)])  # neither the oldest nor the newest
        assert len(world.holders()) < 5
        await world.call_waiting()
    assert {world.status(f"run-{number:02}")["phase"] for number in range(40)} == {"Completed"}
    by_rank = sorted(range(5, 40), key=lambda number: (-(number % 3), number))
    assert order == [f"run-{number:02}" for number in [*range(5), *by_rank]]
    assert len(world.room) == 0


async def test_with_reject_exactly_the_limit_is_admitted(world: World) -> None:
    world.allow(3)
    for number in range(8):
        await apply(world, f"run-{number}", quotaPolicy="Reject")
    assert world.holders() == ["run-0", "run-1", "run-2"]
    words = "Concurrent pipeline limit (3) reached"
    for number in range(3, 8):
        assert refusal(world, f"run-{number}") == ("Failed", "ConcurrentLimitReached", words, words)
    assert world.ledger.usage("acme").day_used == 3


async def test_a_run_that_waits_says_so_with_its_place_and_the_reason(world: World) -> None:
    for name in ("first", "second", "third"):
        await apply(world, name)
    words = "Waiting for a free slot: position 2 of 2 of acme; Concurrent pipeline limit (1) reached"
    assert world.status("third")["phase"] == "Pending"
    assert world.status("third")["message"] == words
    assert admitted(world, "third") == ("False", "WaitingForQuota", words)
    assert world.record(world.run("third")["metadata"]["uid"]).job_name is None
    assert world.holders() == ["first"]


async def test_its_place_is_told_again_as_it_moves(world: World) -> None:
    for name in ("first", "second", "third"):
        await apply(world, name)
    await end(world, "first")
    assert await world.call_waiting() == ["second"]
    again = await world.reconcile(world.run("third")["metadata"]["uid"])
    assert again == pytest.approx(30.0)
    assert "position 1 of 1" in world.status("third")["message"]


async def test_a_run_that_has_waited_costs_at_most_five_writes(world: World) -> None:
    await apply(world, "first")
    world.kubernetes.calls.clear()
    second = await apply(world, "second")
    for _ in range(3):
        await world.reconcile(second)
    mine = len(world.kubernetes.writes())
    await end(world, "first")
    world.kubernetes.calls.clear()
    await world.call_waiting()
    await end(world, "second")
    await world.reconcile(second)
    assert world.status("second")["phase"] == "Completed"
    assert mine + len(world.kubernetes.writes()) <= 5


async def test_a_waiting_run_that_is_cancelled_uses_nothing(world: World) -> None:
    await apply(world, "first")
    second = await apply(world, "second")
    third = await apply(world, "third")
    world.kubernetes.put(names.RUNS, {**world.run("second"), "spec": {**world.run("second")["spec"], "cancel": True}})
    await world.reconcile(second)
    assert world.status("second")["phase"] == "Cancelled"
    await end(world, "first")
    assert await world.call_waiting() == ["third"]
    assert world.ledger.usage("acme").day_used == 2
    assert third


async def test_a_waiting_run_that_is_deleted_uses_nothing(world: World) -> None:
    await apply(world, "first")
    second = await apply(world, "second")
    world.kubernetes.remove(names.RUNS, "default", "second")
    await world.reconcile(second)
    assert world.record(second).phase.value == "Cancelled"
    assert len(world.room) == 0
    assert world.ledger.usage("acme").day_used == 1


async def test_a_run_waits_no_longer_than_it_is_told_to(world: World) -> None:
    await apply(world, "first")
    second = await apply(world, "second", queueTimeoutSeconds=20)
    assert await world.reconcile(second) == pytest.approx(20.0)
    world.pass_time(20)
    await world.reconcile(second)
    place = "Waiting for a free slot: position 1 of 1 of acme; Concurrent pipeline limit (1) reached"
    words = f"No slot was free within 20s ({place})"
    assert refusal(world, "second") == ("Failed", "QueueTimeout", words, words)
    assert len(world.room) == 0
    assert world.ledger.usage("acme").day_used == 1


async def test_over_the_daily_limit_nobody_waits_and_who_waited_is_refused_at_once(world: World) -> None:
    world.allow(1, per_day=2)
    for name in ("first", "second", "third", "fourth"):
        await apply(world, name)
    await end(world, "first")
    assert await world.call_waiting() == ["second"]
    assert world.holders() == ["second"]
    words = "Daily pipeline limit (2) reached"
    await apply(world, "fifth")
    assert refusal(world, "fifth") == ("Failed", "DailyLimitReached", words, words)
    await world.call_waiting()
    for name in ("third", "fourth"):
        assert refusal(world, name) == ("Failed", "DailyLimitReached", words, words)
    assert len(world.room) == 0
    assert world.ledger.usage("acme").day_used == 2


async def test_who_waits_when_the_subscription_is_suspended_is_refused(world: World) -> None:
    await apply(world, "first")
    second = await apply(world, "second")
    world.plans.status["acme"] = "SUSPENDED"
    await world.reconcile(second)
    words = "Pipeline execution not allowed for SUSPENDED organizations"
    assert refusal(world, "second") == ("Failed", "SubscriptionInactive", words, words)
    assert len(world.room) == 0


async def test_a_more_urgent_newcomer_goes_first(world: World) -> None:
    for name, priority in (("first", 0), ("second", 0), ("urgent", 5)):
        await apply(world, name, priority=priority)
    await end(world, "first")
    assert await world.call_waiting() == ["urgent"]
    assert world.holders() == ["urgent"]
    assert "position 1 of 1" not in world.status("urgent")["message"]


async def test_another_organization_is_never_held_up(world: World) -> None:
    world.allow(1, org="globex")
    for name in ("first", "second", "third"):
        await apply(world, name)
    await apply(world, "other", org="globex")
    assert world.holders("globex") == ["other"]
    await apply(world, "other-2", org="globex")
    await end(world, "other")
    assert await world.call_waiting() == ["other-2"]


async def test_a_published_run_holds_its_slot_until_its_pod_has_ended(world: World) -> None:
    first = await apply(world, "first")
    await apply(world, "second")
    world.start_pods()
    await world.reconcile(first)
    pod = next(body["metadata"]["uid"] for key, body in world.kubernetes.objects.items() if key[0] == "pods")
    world.cache.put_published(world.status("first")["runId"], Published(pod, 42, 1.5, world.now()))
    await world.reconcile(first)
    assert world.status("first")["phase"] == "Completed"
    assert await world.call_waiting() == []
    assert world.holders() == ["first"]
    world.end_pods(GOOD)
    await world.reconcile(first)
    assert await world.call_waiting() == ["second"]
    assert world.holders() == ["second"]


async def test_a_failed_run_holds_its_slot_until_its_last_pod_is_gone(world: World) -> None:
    first = await apply(world, "first")
    await apply(world, "second")
    world.start_pods()
    world.fail_jobs("DeadlineExceeded")
    await world.reconcile(first)
    assert world.status("first")["phase"] == "Failed"
    assert world.holders() == ["first"]
    world.kubernetes.remove("pods", "default", f"{world.job_of('first')}-a")
    await world.reconcile(first)
    assert await world.call_waiting() == ["second"]


async def test_without_postgresql_who_waits_goes_on_waiting_and_is_told_why(world: World) -> None:
    await apply(world, "first")
    second = await apply(world, "second")
    await end(world, "first")

    def away(method: str) -> None:
        raise StoreUnavailableError("connection refused")

    world.records.fault = away
    with pytest.raises(StoreUnavailableError):
        await world.call_waiting()
    with pytest.raises(StoreUnavailableError):
        await world.reconcile(second)
    world.records.fault = lambda method: None
    assert await world.call_waiting() == ["second"]
    assert world.holders() == ["second"]


async def test_a_new_process_calls_in_the_same_order(world: World) -> None:
    uids = [await apply(world, name, priority=p) for name, p in (("first", 0), ("b", 0), ("c", 0), ("urgent", 5))]
    await end(world, "first")
    world.start_operator()
    world.knows_all = False
    # The youngest is looked at first, and nobody is called before all are known.
    assert await world.reconcile(uids[2]) == 1.0
    assert await world.call_waiting() == []
    assert world.holders() == []
    world.knows_all = True
    order = []
    for _ in range(3):
        order += await world.call_waiting()
        await end(world, world.holders()[0])
    assert order == ["urgent", "b", "c"]


@pytest.mark.parametrize("answered", [False, True], ids=["killed", "answer lost"])
async def test_a_run_whose_slot_nobody_heard_of_goes_on_with_it(world: World, answered: bool) -> None:
    """With a limit of one it would wait for itself, behind one that is more urgent."""
    reserve = world.ledger.reserve

    class KilledError(BaseException):
        pass

    async def reserves_and_is_not_heard(record: Any) -> Any:
        await reserve(record)
        raise StoreUnavailableError("connection lost") if answered else KilledError

    world.ledger.reserve = reserves_and_is_not_heard  # type: ignore[method-assign]
    with pytest.raises((StoreUnavailableError, KilledError)):
        await apply(world, "first")
    world.ledger.reserve = reserve  # type: ignore[method-assign]
    first = world.run("first")["metadata"]["uid"]
    if answered:
        await apply(world, "urgent", priority=5)
        await world.reconcile(first)
    else:
        world.start_operator()
        await apply(world, "urgent", priority=5)
        await world.reconcile(first)
        await world.healing.round()
        assert await world.call_waiting() == ["first"]
    assert world.holders() == ["first"]
    assert world.status("first")["jobName"]
    await end(world, "first")
    assert await world.call_waiting() == ["urgent"]
