"""The mirror of the schedules in the real PostgreSQL: written when something is new, and only then."""

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store import migrate as migrate_module
from pipeline_core.store.engine import driver_url, transaction
from pipeline_core.store.migrate import VERSION_TABLE, migrate
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.schedules import ScheduleRecords
from support.runs import T0, after
from support.schedules import schedule_row

EDITED = after(100)


@pytest.fixture
def schedules(engine: AsyncEngine) -> ScheduleRecords:
    return ScheduleRecords(engine)


async def stored(engine: AsyncEngine, schedule_id: str = "sch_1") -> dict[str, Any]:
    """The row, with the version of it that PostgreSQL keeps: any write makes another."""
    query = text("SELECT *, ctid::text, xmax::text FROM schedule_record WHERE schedule_id = :id")
    async with transaction(engine) as connection:
        return dict((await connection.execute(query, {"id": schedule_id})).mappings().one())


async def test_a_schedule_is_recorded_as_it_is(schedules: ScheduleRecords, engine: AsyncEngine) -> None:
    row = schedule_row(parameters={"n": 5, "text": "nul \x00 and \ud800"}, last_run_at=after(1))
    assert await schedules.put_many([row]) == 1
    there = await stored(engine)
    expected = {name: getattr(row, name) for name in row.__dataclass_fields__}
    assert {name: there[name] for name in expected} == {**expected, "parameters": {"n": 5, "text": "nul � and ?"}}
    assert (there["revision"], there["exported_revision"], there["deleted_at"]) == (1, 0, None)
    assert there["unexported_since"] is not None


async def test_what_says_nothing_new_writes_nothing(schedules: ScheduleRecords, engine: AsyncEngine) -> None:
    rows = [schedule_row(), schedule_row("sch_2")]
    await schedules.put_many(rows)
    before = await stored(engine)
    # an edit of something that isn't mirrored moves `updated_at` of the object only
    assert await schedules.put_many([rows[0], replace(rows[1], updated_at=EDITED)]) == 0
    assert await schedules.put_many([]) == 0
    assert await stored(engine) == before  # not even locked


@pytest.mark.parametrize(
    "change",
    [
        {"provider": "openai"},
        {"domain": "usage"},
        {"pipeline": "costs"},
        {"cron_expression": "0 1 * * *"},
        {"is_enabled": False},
        {"parameters": {}},
        {"parameters": {"date": "{{today}}"}},
    ],
)
async def test_updated_at_follows_the_spec(
    schedules: ScheduleRecords, engine: AsyncEngine, change: dict[str, Any]
) -> None:
    await schedules.put_many([schedule_row()])
    assert await schedules.put_many([schedule_row(updated_at=EDITED, **change)]) == 1
    there = await stored(engine)
    assert (there["updated_at"], there["revision"]) == (EDITED, 2)
    assert {name: there[name] for name in change} == change


@pytest.mark.parametrize("change", [{"last_run_at": after(5)}, {"next_run_at": None}, {"next_run_at": after(9)}])
async def test_and_no_run(schedules: ScheduleRecords, engine: AsyncEngine, change: dict[str, Any]) -> None:
    await schedules.put_many([schedule_row()])
    assert await schedules.put_many([schedule_row(updated_at=EDITED, **change)]) == 1
    there = await stored(engine)
    assert (there["updated_at"], there["revision"]) == (T0, 2)
    assert {name: there[name] for name in change} == change


async def test_updated_at_never_goes_back(schedules: ScheduleRecords, engine: AsyncEngine) -> None:
    await schedules.put_many([schedule_row(updated_at=EDITED)])
    await schedules.put_many([schedule_row(updated_at=T0, is_enabled=False)])
    there = await stored(engine)
    assert (there["updated_at"], there["is_enabled"]) == (EDITED, False)


async def test_changes_that_pile_up_wait_since_the_first(schedules: ScheduleRecords, engine: AsyncEngine) -> None:
    await schedules.put_many([schedule_row()])
    since = (await stored(engine))["unexported_since"]
    for i in range(3):
        await schedules.put_many([schedule_row(last_run_at=after(i))])
    there = await stored(engine)
    assert (there["revision"], there["unexported_since"]) == (4, since)


async def test_of_one_schedule_twice_the_last_counts(schedules: ScheduleRecords, engine: AsyncEngine) -> None:
    assert await schedules.put_many([schedule_row(pipeline="old"), schedule_row(pipeline="new")]) == 1
    assert (await stored(engine))["pipeline"] == "new"


async def test_a_time_without_a_zone_is_refused(schedules: ScheduleRecords) -> None:
    with pytest.raises(ValueError, match="has no zone"):
        await schedules.put_many([schedule_row(created_at=T0.replace(tzinfo=None))])


async def test_removing_is_told_once_and_undone_by_seeing_it_again(
    schedules: ScheduleRecords, engine: AsyncEngine
) -> None:
    await schedules.put_many([schedule_row(), schedule_row("sch_2")])
    assert await schedules.remove_many([]) == 0
    assert await schedules.remove_many({"sch_1", "sch_unknown"}) == 1
    assert await schedules.remove_many(["sch_1"]) == 0
    assert await schedules.listed() == {"sch_2"}
    removed = await stored(engine)
    assert (removed["revision"], removed["deleted_at"] is None) == (2, False)
    assert await schedules.put_many([schedule_row(updated_at=EDITED)]) == 1
    there = await stored(engine)
    assert (there["revision"], there["deleted_at"], there["updated_at"]) == (3, None, T0)


async def test_each_installation_asks_for_its_own_namespaces(schedules: ScheduleRecords) -> None:
    of = {"sch_a": "eu", "sch_b": "us", "sch_c": "us"}
    await schedules.put_many([schedule_row(name, object_namespace=space) for name, space in of.items()])
    assert await schedules.listed() == set(of)
    assert await schedules.listed(["us"]) == {"sch_b", "sch_c"}
    assert await schedules.listed(["us", "eu", "elsewhere"]) == set(of)
    assert await schedules.listed([]) == set()


async def test_two_operators_and_an_exporter_at_once_never_wait_in_a_circle(
    schedules: ScheduleRecords, engine: AsyncEngine
) -> None:
    """Each locks many rows: one order for all of them, however the rows are given."""
    names = [f"sch_{i:02}" for i in range(50)]
    rng = random.Random(7)
    outbox = Outbox(engine)

    async def operate(seconds: int) -> None:
        for i in range(10):
            shuffled = rng.sample(names, len(names))
            await schedules.put_many([schedule_row(name, last_run_at=after(seconds + i)) for name in shuffled])
            await schedules.remove_many(rng.sample(names, 25))

    async def export() -> None:
        for _ in range(15):
            async with outbox.turn() as turn:
                assert turn is not None
                await turn.mark_schedules(await turn.due_schedules(30, interval=timedelta(0)))

    await asyncio.gather(operate(0), operate(100), export())
    assert len(await schedules.listed()) <= len(names)
    async with transaction(engine) as connection:
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await connection.scalar(text(deadlocks)) == 0


def test_a_database_of_the_version_before_is_brought_up_with_its_data(empty_database_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate_module._MIGRATIONS))
    engine = create_engine(driver_url(empty_database_url))
    with engine.begin() as connection:
        config.attributes |= {"connection": connection, "version_table": VERSION_TABLE}
        command.upgrade(config, "0006")
        connection.execute(
            text(
                "INSERT INTO run_record (run_id, org_slug, provider, domain, pipeline, status, created_at, parameters,"
                " created_by, progress, attempts, transitions, revision) VALUES ('run_1', 'acme', 'gcp', 'cost',"
                " 'billing', 'pending', now(), '{}', 'key:k1', 0, 0, '[]', 1)"
            )
        )
        connection.execute(text("INSERT INTO export_job (id, job_id) VALUES (1, 'job_under_way')"))
    engine.dispose()
    said: list[str] = []
    migrate(empty_database_url, say=said.append)
    assert said[0].startswith("schema upgraded from 0006 to ")
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT run_id, revision FROM run_record").fetchall() == [("run_1", 1)]
        job = connection.execute("SELECT job_id, ended_job_id FROM export_job").fetchall()
        assert job == [("job_under_way", None)]  # the next turn waits for it
        assert connection.execute("SELECT count(*) FROM schedule_record").fetchone() == (0,)
