"""PostgreSQL's mirror follows the objects: what has changed, and nothing else, whatever was lost in between."""

from datetime import timedelta

import pytest

from pipeline_core.identifiers import schedule_id
from pipeline_core.kube import names
from pipeline_core.store.errors import StoreUnavailableError
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
