"""Runs over the concurrent limit: who waits, who is refused, who goes next, and how a wait ends."""

from typing import Any

import pytest

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeUnavailableError
from pipeline_core.lifecycle.observed import Published
from pipeline_core.outcome import Outcome
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator.cluster import Cluster
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.queue import WorkQueue
from pipeline_operator.sweep import Sweep
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
    third = world.run("third")["metadata"]["uid"]
    assert await world.reconcile(third) == pytest.approx(30.0)
    assert "position 2 of 2" in world.status("third")["message"]
    world.pass_time(30)
    assert await world.reconcile(third) == pytest.approx(30.0)
    assert "position 1 of 1" in world.status("third")["message"]


async def test_passes_between_two_tellings_write_nothing_and_wait_for_the_next(world: World) -> None:
    for name in ("first", "second", "third"):
        await apply(world, name)
    third = world.run("third")["metadata"]["uid"]
    await world.reconcile(world.run("second")["metadata"]["uid"])
    world.kubernetes.remove(names.RUNS, "default", "second")
    await world.reconcile(world.run("first")["metadata"]["uid"])
    world.kubernetes.calls.clear()
    for seconds in range(1, 30):
        world.pass_time(1)
        assert await world.reconcile(third) == pytest.approx(30.0 - seconds)
    assert world.kubernetes.writes() == []


async def test_what_an_earlier_process_told_is_not_told_again_at_once(world: World) -> None:
    uids = [await apply(world, f"run-{number:03}") for number in range(401)]
    world.start_operator()
    world.watch()
    assert world.room.is_open
    world.kubernetes.calls.clear()
    again = [await world.reconciler.reconcile(uid) for uid in uids[1:]]
    assert world.kubernetes.writes() == []
    assert again == [pytest.approx(40.0)] * 400  # ten writes in a second


async def test_a_sweep_costs_a_waiting_run_nothing(world: World) -> None:
    uids = [await apply(world, f"run-{number:03}") for number in range(20)]
    world.start_pods()
    world.watch()
    cluster, queue = Cluster(world.kubernetes), WorkQueue()
    everywhere = Namespaces(cluster, [], "pipelines")
    sweep = Sweep(cluster, world.cache, queue, world.records, everywhere, world.room.__contains__)
    await sweep.round()
    assert [await queue.get() for _ in range(queue.depth())] == uids[:1]
    assert not any(entry.doubted for entry in world.cache.entries() if entry.run and entry.run.uid != uids[0])
    # But for one whose deletion, or whose cancelling, no event has told of.
    world.kubernetes.remove(names.RUNS, "default", "run-007")
    body = world.run("run-011")
    world.kubernetes.put(names.RUNS, {**body, "spec": {**body["spec"], "cancel": True}})
    queue.done(uids[0])
    await sweep.round()
    assert {await queue.get() for _ in range(queue.depth())} == {uids[0], uids[7], uids[11]}
    assert [uid for uid in uids if world.cache.get(uid).doubted] == [uids[0], uids[7]]


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
    assert await world.reconcile(uids[2]) == pytest.approx(30.0)
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


async def test_before_all_are_known_who_waits_is_told_so_after_a_while_and_costs_little(world: World) -> None:
    world.knows_all = False
    uid = await apply(world, "first", queueTimeoutSeconds=50)
    assert world.status("first") == {}
    assert await world.reconcile(uid) == pytest.approx(30.0)
    world.pass_time(30)
    assert await world.reconcile(uid) == pytest.approx(20.0)
    words = "Waiting for a free slot of acme: who else waits isn't known yet"
    assert admitted(world, "first") == ("False", "WaitingForQuota", words)
    world.pass_time(20)
    assert await world.reconcile(uid) == pytest.approx(10.0)  # the next look, as its time is over
    world.pass_time(10)
    await world.reconcile(uid)
    words = f"No slot was free within 50s ({words})"
    assert refusal(world, "first") == ("Failed", "QueueTimeout", words, words)


async def test_who_has_not_been_told_yet_is_woken_when_all_are_known(world: World) -> None:
    world.allow(0)
    told = await apply(world, "told")
    world.start_operator()
    world.knows_all = False
    world.room.is_open  # noqa: B018
    new = await apply(world, "new")
    await world.reconcile(told)
    world.knows_all = True
    await world.room.call()
    assert world.woken == [new]
    await world.reconcile(new)
    assert "position 2 of 2" in admitted(world, "new")[2]


@pytest.mark.parametrize("is_open", [True, False], ids=["all known", "not all known"])
async def test_the_time_limit_of_a_wait_ends_no_run_that_has_its_slot(world: World, is_open: bool) -> None:
    """Its process died before it said so on the object, and its Job hasn't been shown to the next one."""

    def no_status(method: str, path: str) -> None:
        if method == "PATCH":
            raise KubeUnavailableError("connection lost")

    world.kubernetes.before = no_status
    with pytest.raises(KubeUnavailableError):
        await apply(world, "first", queueTimeoutSeconds=20)
    world.kubernetes.before = lambda _method, _path: None
    world.start_pods()
    world.start_operator()
    world.knows_all = is_open
    world.apply("urgent", priority=9, quotaPolicy="Queue")
    world.pass_time(60)
    for name in ("urgent", "first"):
        world.cache.put_run(world.run(name))
    first = world.run("first")["metadata"]["uid"]
    await world.reconciler.reconcile(first)
    assert world.holders() == ["first"]
    assert not world.record(first).phase.is_final
    assert world.status("first").get("phase") != "Failed"
    await end(world, "first")
    assert world.status("first")["phase"] == "Completed"
