"""PostgreSQL's mirror follows the objects: what has changed, and nothing else, whatever was lost in between."""

from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline_core.identifiers import schedule_id
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeError
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_operator.cluster import Cluster
from pipeline_operator.namespaces import Namespaces
from pipeline_operator.queue import WorkQueue
from pipeline_operator.sweep import Sweep
from support.operator_world import T0
from support.schedule_operator import NAMESPACE, ScheduleOperator


@pytest.fixture
def world() -> ScheduleOperator:
    return ScheduleOperator()


async def test_a_row_is_what_the_object_says(world: ScheduleOperator) -> None:
    uid = world.schedule()
    await world.until(T0 + timedelta(hours=1))
    await world.parts.mirror.write()
    (row,) = world.mirror.rows.values()
    assert row.schedule_id == schedule_id(uid)
    assert (row.org_slug, row.cron_expression, row.is_enabled) == ("acme", "0 * * * *", True)
    assert (row.object_namespace, row.object_name) == (NAMESPACE, "nightly")
    assert row.parameters == {"date": "{{yesterday}}"}
    assert (row.last_run_at, row.next_run_at) == (T0 + timedelta(hours=1), T0 + timedelta(hours=2))
    assert (row.created_at, row.updated_at) == (T0, T0)


async def test_only_what_is_new_is_written(world: ScheduleOperator) -> None:
    world.schedule()
    world.schedule("other")
    await world.turn()
    await world.parts.mirror.write()
    assert world.mirror.puts == 2
    world.pass_time(1)
    world.edit(enabled=False)
    world.edit("other", annotations={"somebody": "else"})  # which isn't mirrored; the store keeps updated_at
    await world.turn()
    await world.parts.mirror.write()
    await world.parts.mirror.write()
    assert world.mirror.puts == 4
    assert not world.mirror.rows[schedule_id(world.object()["metadata"]["uid"])].is_enabled


async def test_what_goes_is_removed(world: ScheduleOperator) -> None:
    world.schedule()
    await world.turn()
    await world.parts.mirror.write()
    world.kubernetes.remove(names.SCHEDULES, NAMESPACE, "nightly")
    await world.turn()
    await world.parts.mirror.write()
    assert world.mirror.rows == {}


async def test_it_is_written_once_postgresql_is_back(world: ScheduleOperator) -> None:
    def away(_method: str) -> None:
        raise StoreUnavailableError("connection refused")

    world.schedule()
    await world.turn()
    world.mirror.fault = away
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await world.parts.mirror.write()
    world.mirror.fault = lambda _method: None
    await world.parts.mirror.write()
    assert len(world.mirror.rows) == 1


async def test_a_new_process_finds_what_an_earlier_one_left(world: ScheduleOperator) -> None:
    world.schedule()
    world.schedule("goes")
    await world.turn()
    await world.parts.mirror.write()
    world.kubernetes.remove(names.SCHEDULES, NAMESPACE, "goes")
    world.mirror.rows.pop(schedule_id(world.object()["metadata"]["uid"]))
    world.start_operator()
    await world.turn()
    await world.parts.resync([None], [])
    await world.parts.mirror.write()
    assert [row.object_name for row in world.mirror.rows.values()] == ["nightly"]
    # And what is lost there while it runs.
    world.mirror.rows.clear()
    await world.parts.resync([None], [])
    await world.parts.mirror.write()
    assert [row.object_name for row in world.mirror.rows.values()] == ["nightly"]


async def test_schedules_of_a_namespace_that_cannot_be_looked_at_stay(world: ScheduleOperator) -> None:
    spec = world.schedule() and world.object()["spec"]
    for namespace in ("served", "refused", "gone"):
        world.kubernetes.put("namespaces", {"metadata": {"name": namespace, "namespace": ""}})
        for name in ("stays", "goes"):
            world.kubernetes.put(names.SCHEDULES, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})
    await world.turn()
    await world.parts.mirror.write()
    # The next process sees nothing of the one that it may not read.
    shown = {key: world.kubernetes.objects.pop(key) for key in list(world.kubernetes.objects) if key[1] == "refused"}
    world.start_operator()
    await world.turn()
    world.kubernetes.objects |= shown
    world.kubernetes.remove(names.SCHEDULES, "served", "goes")
    world.kubernetes.remove("namespaces", "", "gone")

    def forbidden(_method: str, path: str) -> None:
        if "/namespaces/refused/" in path:
            raise KubeError(403, "Forbidden", "no right")

    world.kubernetes.before = forbidden
    cluster = Cluster(world.kubernetes)
    namespaces = Namespaces(cluster, ["served", "refused", "gone"], "pipelines")
    records = world.records
    await Sweep(cluster, world.cache, WorkQueue(), records, namespaces, schedules=world.parts.resync).round()  # type: ignore[arg-type]
    await world.parts.mirror.write()
    rows = sorted((row.object_namespace, row.object_name) for row in world.mirror.rows.values())
    # That of a namespace that isn't watched is another installation's.
    assert rows == [("default", "nightly"), ("refused", "goes"), ("refused", "stays"), ("served", "stays")]


async def test_a_row_that_became_wrong_is_put_right_with_the_next_comparison(world: ScheduleOperator) -> None:
    world.schedule()
    await world.turn()
    await world.parts.mirror.write()
    (right,) = world.mirror.rows.values()
    # A predecessor wrote late what it had seen before.
    world.mirror.rows[right.schedule_id] = replace(right, is_enabled=False)
    await world.parts.mirror.write()
    await world.parts.resync([None], [])
    await world.parts.mirror.write()
    assert world.mirror.rows == {right.schedule_id: right}


async def test_one_that_cannot_be_understood_any_more_stays_until_it_is_deleted(world: ScheduleOperator) -> None:
    uid = world.schedule()
    await world.turn()
    await world.parts.mirror.write()
    world.kubernetes.remove(names.SCHEDULES, NAMESPACE, "nightly")
    body = world.schedule(concurrencyPolicy="Nonsense") and world.object()
    world.kubernetes.objects[names.SCHEDULES, NAMESPACE, "nightly"] = {
        **body,
        "metadata": {**body["metadata"], "uid": uid},
    }
    world.start_operator()
    await world.parts.resync([None], [])
    await world.parts.mirror.write()
    assert [row.object_name for row in world.mirror.rows.values()] == ["nightly"]
    world.kubernetes.remove(names.SCHEDULES, NAMESPACE, "nightly")
    await world.parts.resync([None], [])
    await world.parts.mirror.write()
    assert world.mirror.rows == {}


async def test_a_comparison_that_postgresql_cut_off_is_made_again(world: ScheduleOperator) -> None:
    def away(method: str) -> None:
        if method == "remove_many":
            raise StoreUnavailableError("connection refused")

    world.schedule("stays")
    world.schedule()
    await world.turn()
    await world.parts.mirror.write()
    world.kubernetes.remove(names.SCHEDULES, NAMESPACE, "nightly")
    world.start_operator()
    await world.turn()
    await world.parts.resync([None], [])
    world.mirror.fault = away
    with pytest.raises(StoreUnavailableError):
        await world.parts.mirror.write()
    world.mirror.fault = lambda _method: None
    await world.parts.mirror.write()
    assert [row.object_name for row in world.mirror.rows.values()] == ["stays"]
