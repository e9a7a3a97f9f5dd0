"""A watch counts as blind when it doesn't show what the API server's answers have told of, and never otherwise."""

from typing import Any

import pytest

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.expectations import Expectations
from pipeline_operator.intake import Intake
from pipeline_operator.observed_api import ObservedApi
from support.fake_kubernetes import FakeKubernetes

PATIENCE = 90.0


class Place:
    """An API server, the expectations of its answers, and a clock; the Lease is renewed while time passes."""

    def __init__(self, namespaces: tuple[str, ...] = ()) -> None:
        self.now = 1000.0
        self.kubernetes = FakeKubernetes()
        self.expectations = Expectations(namespaces, PATIENCE, lambda: self.now)
        self.cluster = Cluster(ObservedApi(self.kubernetes, self.expectations))

    def put(self, plural: str = names.RUNS, name: str = "billing", namespace: str = "default") -> dict[str, Any]:
        metadata: dict[str, Any] = {"name": name, "namespace": namespace, "labels": {names.LABEL_RUN_ID: "run_1"}}
        return self.kubernetes.put(plural, {"metadata": metadata})

    def show(self, plural: str, body: dict[str, Any], *, gone: bool = False) -> None:
        self.expectations.seen(plural, body, gone=gone)

    async def pass_time(self, seconds: float, *, answering: bool = True) -> None:
        for _ in range(int(seconds // 2)):
            self.now += 2
            if answering:
                await self.cluster.get_lease("default", "pipelines-operator")

    def blind(self) -> str:
        return self.expectations.blind() or ""


@pytest.fixture
def place() -> Place:
    return Place()


async def test_a_watch_that_does_not_show_a_read_object_is_blind_after_the_patience(place: Place) -> None:
    place.put()
    await place.cluster.get_run("default", "billing")
    await place.pass_time(PATIENCE - 2)
    assert place.blind() == ""
    await place.pass_time(2)
    assert place.blind() == (
        "the watch of pipelineruns is blind: for 90s it has not shown version 1 of default/billing, nor anything newer"
    )
    assert place.expectations.behind(names.RUNS) == 90
    assert place.expectations.behind("jobs") == 0


async def test_showing_it_or_something_newer_is_enough(place: Place) -> None:
    body = place.put()
    await place.cluster.get_run("default", "billing")
    place.show(names.RUNS, body)
    await place.pass_time(PATIENCE)
    assert place.blind() == ""
    place.put(name="other")
    await place.cluster.get_run("default", "other")
    place.show(names.RUNS, place.put(name="third"))
    await place.pass_time(PATIENCE)
    assert place.blind() == ""


@pytest.mark.parametrize("plural", [names.RUNS, "jobs", "pods"])
async def test_each_kind_has_its_own_watch(place: Place, plural: str) -> None:
    old = {kind: place.put(kind) for kind in (names.RUNS, "jobs", "pods")}
    for kind, body in old.items():
        place.show(kind, body)
    for kind in old:
        place.put(kind)
    await place.cluster.get_run("default", "billing")
    await place.cluster.get_job("default", "billing")
    await place.cluster.list_pods("default", "run_1")
    for kind in old:
        if kind != plural:
            place.show(kind, place.put(kind, "newer"))
    await place.pass_time(PATIENCE)
    assert f"the watch of {plural} is blind" in place.blind()


async def test_a_silent_watch_is_not_blind_where_nothing_happens(place: Place) -> None:
    body = place.put()
    place.show(names.RUNS, body)
    for _ in range(10):
        await place.cluster.get_run("default", "billing")
        async for _run in place.cluster.list_runs(None):
            pass
        await place.pass_time(PATIENCE)
    assert place.blind() == ""


async def test_writes_and_lists_tell_too(place: Place) -> None:
    body = place.put()
    place.show(names.RUNS, body)
    await place.cluster.patch_run_status(
        "default", "billing", body["metadata"]["resourceVersion"], {"phase": "Running"}
    )
    await place.pass_time(PATIENCE)
    assert "pipelineruns" in place.blind()
    job = {"metadata": {"name": "run-1", "labels": {names.LABEL_RUN_ID: "run_1"}}}
    other = Place()
    await other.cluster.create_job("default", job)
    await other.pass_time(PATIENCE)
    assert "jobs" in other.blind()
    third = Place()
    third.put()
    async for _run in third.cluster.list_runs(None):
        pass
    await third.pass_time(PATIENCE)
    assert "pipelineruns" in third.blind()


async def test_what_the_watch_does_not_select_is_not_expected(place: Place) -> None:
    place.kubernetes.put("jobs", {"metadata": {"name": "foreign"}})
    await place.cluster.get_job("default", "foreign")
    await place.pass_time(PATIENCE)
    assert place.blind() == ""


async def test_a_deletion_shown_by_the_watch_meets_the_expectation(place: Place) -> None:
    body = place.put()
    await place.cluster.get_run("default", "billing")
    place.show(names.RUNS, {"metadata": {**body["metadata"], "resourceVersion": "0"}}, gone=True)
    await place.pass_time(PATIENCE)
    assert place.blind() == ""


async def test_an_object_that_went_between_two_watches_is_looked_at_and_forgotten(place: Place) -> None:
    place.put()
    place.put("jobs", "run-1")
    place.put("pods", "run-1-a")
    await place.cluster.get_run("default", "billing")
    await place.cluster.get_job("default", "run-1")
    await place.cluster.list_pods("default", "run_1")
    for plural, name in ((names.RUNS, "billing"), ("jobs", "run-1"), ("pods", "run-1-a")):
        place.kubernetes.remove(plural, "default", name)
    await place.pass_time(PATIENCE / 2 + 2)
    assert {each.plural for each in place.expectations.late()} == {names.RUNS, "jobs", "pods"}
    await place.cluster.get_run("default", "billing")
    await place.cluster.get_job("default", "run-1")
    await place.cluster.list_pods("default", "run_1")
    await place.pass_time(PATIENCE)
    assert place.blind() == ""


async def test_a_new_object_of_the_same_name_ends_the_wait_for_the_old_one(place: Place) -> None:
    place.put()
    await place.cluster.get_run("default", "billing")
    await place.pass_time(60)
    place.kubernetes.remove(names.RUNS, "default", "billing")
    place.put()
    await place.cluster.get_run("default", "billing")
    await place.pass_time(60)
    assert place.blind() == ""
    await place.pass_time(30)
    assert "version 2" in place.blind()


async def test_time_without_an_answer_does_not_count(place: Place) -> None:
    place.put()
    await place.cluster.get_run("default", "billing")
    await place.pass_time(10)
    await place.pass_time(3600, answering=False)
    await place.pass_time(60)
    assert place.blind() == ""
    await place.pass_time(30)
    assert place.blind()


async def test_an_answer_that_says_to_try_again_is_none(place: Place) -> None:
    place.put()
    await place.cluster.get_run("default", "billing")

    def away(_method: str, path: str) -> None:
        raise KubeUnavailableError(path)

    place.kubernetes.before = away
    for _ in range(100):
        place.now += 2
        with pytest.raises(KubeUnavailableError):
            await place.cluster.get_run("default", "billing")
    assert place.blind() == ""

    def forbidden(_method: str, path: str) -> None:
        raise KubeError(403, "Forbidden", path)

    place.kubernetes.before = forbidden
    for _ in range(50):
        place.now += 2
        with pytest.raises(KubeError):
            await place.cluster.get_run("default", "billing")
    assert place.blind()


async def test_namespaces_with_a_watch_each_are_told_apart() -> None:
    place = Place(("a", "b"))
    place.put(namespace="a")
    await place.cluster.get_run("a", "billing")
    place.show(names.RUNS, place.put(namespace="b"))
    await place.pass_time(PATIENCE)
    assert "a/billing" in place.blind()


async def test_memory_is_bounded_and_the_oldest_is_kept(place: Place) -> None:
    for number in range(1000):
        place.put(name=f"run{number}")
        await place.cluster.get_run("default", f"run{number}")
        await place.pass_time(2)
    (waiting,) = place.expectations._open.values()
    assert len(waiting) <= 128
    assert "default/run0," in place.blind()


async def test_a_burst_within_a_second_is_one_expectation(place: Place) -> None:
    for number in range(1000):
        place.put(name=f"run{number}")
    async for _run in place.cluster.list_runs(None):
        pass
    (waiting,) = place.expectations._open.values()
    assert len(waiting) == 1


async def test_what_the_informer_hands_on_is_what_a_watch_has_shown(place: Place) -> None:
    body = place.kubernetes.put(names.RUNS, {"metadata": {"name": "billing"}, "spec": {"org": "acme"}})
    await place.cluster.get_run("default", "billing")
    Intake(Cache(), lambda _uid: None, place.expectations).take(names.RUNS, body, gone=False)
    await place.pass_time(PATIENCE)
    assert place.blind() == ""
