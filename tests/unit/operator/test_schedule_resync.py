"""The sweep finds what the watch of schedules has lost, and wakes nobody else."""

import pytest
from structlog.testing import capture_logs

from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError
from pipeline_operator.cluster import Cluster
from pipeline_operator.expectations import Expectations
from pipeline_operator.intake import Intake
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.observed_api import ObservedApi
from pipeline_operator.queue import WorkQueue
from pipeline_operator.sweep import Sweep
from support.schedule_operator import NAMESPACE, ScheduleOperator


@pytest.fixture
def world() -> ScheduleOperator:
    return ScheduleOperator()


def sweep(world: ScheduleOperator, namespaces: list[str]) -> Sweep:
    cluster = Cluster(world.kubernetes)
    return Sweep(
        cluster,
        world.cache,
        WorkQueue(),
        world.records,  # type: ignore[arg-type]
        Namespaces(cluster, namespaces, "pipelines"),
        schedules=world.parts.resync,
    )


async def in_namespaces(world: ScheduleOperator, *namespaces: str) -> None:
    """A schedule in each of these namespaces, of which the operator knows."""
    for namespace in namespaces:
        world.kubernetes.put("namespaces", {"metadata": {"name": namespace, "namespace": ""}})
        body = world.schedule("s") and world.object("s")
        metadata = {"name": "s", "namespace": namespace}
        world.kubernetes.put(names.SCHEDULES, {"metadata": metadata, "spec": body["spec"]})
    world.kubernetes.remove(names.SCHEDULES, NAMESPACE, "s")
    await world.turn()


async def test_only_what_differs_is_woken(world: ScheduleOperator) -> None:
    for name in ("same", "edited", "gone"):
        world.schedule(name)
    await world.turn()
    world.schedule("new")
    world.edit("edited", enabled=False)
    world.kubernetes.remove(names.SCHEDULES, NAMESPACE, "gone")
    await sweep(world, []).round()
    woken = {await world.parts.queue.get() for _ in range(world.parts.queue.depth())}
    assert woken == {world.object(name)["metadata"]["uid"] for name in ("new", "edited")}
    assert len(world.parts.cache) == 3


async def test_with_its_namespace_a_schedule_is_gone_and_in_another_it_stays(world: ScheduleOperator) -> None:
    await in_namespaces(world, "kept", "deleted")
    assert len(world.parts.cache) == 2
    world.kubernetes.remove("namespaces", "", "deleted")
    world.kubernetes.remove(names.SCHEDULES, "deleted", "s")
    await sweep(world, ["kept", "deleted"]).round()
    assert [entry.schedule.namespace for entry in world.parts.cache.entries()] == ["kept"]


async def test_one_that_cannot_be_read_keeps_none_of_the_others_from_work(world: ScheduleOperator) -> None:
    world.schedule()
    world.schedule("broken", concurrencyPolicy="Nonsense")
    intake = Intake(world.cache, world.runs_woken.append, Expectations([], 90.0, lambda: 0.0), world.parts.take)
    with capture_logs() as logs:
        for name in ("broken", "nightly"):
            intake.take(names.SCHEDULES, world.object(name), gone=False)
        await world.parts.resync([None], [])
    assert [line["event"] for line in logs] == ["object not understood"] * 2
    assert len(world.parts.cache) == 1


async def test_a_watch_of_schedules_may_be_blind_too(world: ScheduleOperator) -> None:
    clock = [0.0]
    expectations = Expectations([], 90.0, lambda: clock[0])
    cluster = Cluster(ObservedApi(world.kubernetes, expectations))
    world.schedule()
    await cluster.get_schedule(NAMESPACE, "nightly")
    for _ in range(20):
        clock[0] += 5
        expectations.answered()
    assert "the watch of pipelineschedules is blind" in (expectations.blind() or "")
    expectations.seen(names.SCHEDULES, world.object(), gone=False)
    assert expectations.blind() is None


async def test_nothing_is_decided_before_all_is_known(world: ScheduleOperator) -> None:
    world.knows_all = False
    waits = world.parts._until_all_is_known()
    assert waits.send(None) is not None  # it sleeps
    waits.close()
    world.knows_all = True
    await world.parts._until_all_is_known()


async def test_a_list_of_before_brings_no_deleted_schedule_back(world: ScheduleOperator) -> None:
    world.schedule("first")
    uid = world.schedule()
    world.show()
    stale = world.object()

    def deleted(method: str, path: str) -> None:
        if method == "GET" and path.endswith("/pipelineschedules"):
            world.parts.take(stale, True)  # after the list was read, before it is looked at

    world.kubernetes.after = deleted
    await world.parts.resync([None], [])
    assert world.parts.cache.get(uid) is None
    assert len(world.parts.cache) == 1


async def test_where_schedules_cannot_be_listed_the_sweep_goes_on_without_them(world: ScheduleOperator) -> None:
    await in_namespaces(world, "with", "without")
    await world.parts.mirror.write()

    def refused(_method: str, path: str) -> None:
        if path.endswith("/without/pipelineschedules"):
            raise KubeError(403, "Forbidden", "cannot list resource pipelineschedules")

    world.kubernetes.before = refused
    swept = sweep(world, ["with", "without"])
    with capture_logs() as logs:
        await swept.round()
        await swept.round()
    assert swept.rounds == 2
    (line,) = [line for line in logs if line["log_level"] == "error"]
    assert (line["event"], line["namespace"]) == ("schedules can't be listed", "without")
    # Nobody knows what has become of them: they are neither forgotten nor taken from the mirror.
    assert len(world.parts.cache) == 2
    await world.parts.mirror.write()
    assert len(await world.mirror.listed()) == 2
