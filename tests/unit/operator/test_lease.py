"""Leadership: one holder, judged by the candidate's own clock, given up before another may take over."""

import asyncio

import pytest

from pipeline_core.kube.api import KubeUnavailableError
from pipeline_operator import lease as lease_module
from pipeline_operator.cluster import Cluster
from pipeline_operator.lease import DURATION_SECONDS, Lease, LeaseLostError
from support.fake_kubernetes import FakeKubernetes


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kubernetes() -> FakeKubernetes:
    return FakeKubernetes()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def candidate(kubernetes: FakeKubernetes, clock: Clock, identity: str) -> Lease:
    return Lease(Cluster(kubernetes), "default", "pipelines-operator", identity, clock)


async def test_only_one_of_two_leads_until_the_lease_has_stood_still_for_its_duration(
    kubernetes: FakeKubernetes, clock: Clock
) -> None:
    first, second = (candidate(kubernetes, clock, name) for name in ("first", "second"))
    assert await first._try()
    assert not await second._try()
    clock.now += DURATION_SECONDS - 1
    assert await first._try()
    clock.now += 2
    assert not await second._try()
    clock.now += DURATION_SECONDS + 1
    assert await second._try()
    spec = kubernetes.objects["leases", "default", "pipelines-operator"]["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("second", 1)
    assert not await first._try()


async def test_a_released_lease_is_free_at_once(kubernetes: FakeKubernetes, clock: Clock) -> None:
    first, second = (candidate(kubernetes, clock, name) for name in ("first", "second"))
    await first.acquire()
    await first.release()
    assert await second._try()


async def test_of_two_that_try_at_once_the_slower_one_is_refused(kubernetes: FakeKubernetes, clock: Clock) -> None:
    first, second = (candidate(kubernetes, clock, name) for name in ("first", "second"))
    assert await first._try()
    await first.release()
    read_by_second = await Cluster(kubernetes).get_lease("default", "pipelines-operator")
    assert await first._try()
    second._cluster = Cluster(kubernetes)

    async def stale(_namespace: str, _name: str) -> object:
        return read_by_second

    second._cluster.get_lease = stale  # type: ignore[method-assign, assignment]
    assert not await second._try()


async def test_a_leader_that_cannot_renew_stops_before_its_lease_runs_out(
    kubernetes: FakeKubernetes, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def pass_time(seconds: float) -> None:
        clock.now += seconds

    leader = candidate(kubernetes, clock, "first")
    await leader.acquire()
    began = clock.now

    def away(_method: str, _path: str) -> None:
        raise KubeUnavailableError("away")

    kubernetes.before = away
    monkeypatch.setattr(lease_module.asyncio, "sleep", pass_time)
    with pytest.raises(LeaseLostError, match="could not be renewed"):
        await leader.keep()
    assert clock.now - began < DURATION_SECONDS


async def test_a_leader_whose_lease_was_taken_stops(kubernetes: FakeKubernetes, clock: Clock) -> None:
    leader = candidate(kubernetes, clock, "first")
    await leader.acquire()
    body = kubernetes.objects["leases", "default", "pipelines-operator"]
    body["spec"]["holderIdentity"] = "second"
    kubernetes.put("leases", body)
    with pytest.raises(LeaseLostError, match="taken by another"):
        await asyncio.wait_for(leader.keep(), 10)
