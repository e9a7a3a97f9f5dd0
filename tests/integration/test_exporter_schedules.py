"""The schedules' mirror between the real PostgreSQL and a target: exactly what changed, when it is due."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import ServiceUnavailable
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_core.store.bigquery.record_schema import SCHEDULES, schema
from pipeline_core.store.bigquery.record_tables import RecordTables
from pipeline_core.store.engine import transaction
from pipeline_core.store.schedule_outbox import UnexportedSchedule
from pipeline_core.store.schedules import ScheduleRow
from support.exporting import Bench
from support.runs import T0, after, new_run
from support.schedules import schedule_row

NOW = timedelta(0)


@pytest.fixture
def bench(engine: AsyncEngine) -> Bench:
    return Bench(engine)


async def test_the_stand_in_has_exactly_the_schedules(bench: Bench, bigquery_settings: BigQuerySettings) -> None:
    """Put, changed, run, not changed, deleted: after each export the table is the mirror, column by column."""
    client = bigquery_client(bigquery_settings)
    exporter = bench.make(RecordTables(client, "organizations_schedules"), export_batch_rows=2)
    nightly = schedule_row(last_run_at=after(1), parameters={"date": "{{yesterday}}", "n": 7})
    hourly = schedule_row("sch_2", cron_expression="0 * * * *", org_slug="beta")
    paused = schedule_row("sch_3", is_enabled=False, next_run_at=None, parameters={})

    async def table() -> list[dict[str, Any]]:
        query = "SELECT * FROM organizations_schedules.pipeline_schedules ORDER BY schedule_id"
        return await asyncio.to_thread(lambda: [dict(row) for row in client.query_and_wait(query)])

    def expected(*rows: ScheduleRow) -> list[dict[str, Any]]:
        return [{field.name: getattr(row, field.name) for field in schema(SCHEDULES)} for row in rows]

    async def export() -> None:
        while await exporter.export_once():
            pass

    await bench.schedules.put_many([nightly, hourly, paused])
    await export()
    assert await table() == expected(nightly, hourly, paused)

    edited = replace(nightly, cron_expression="0 7 * * *", updated_at=after(50), next_run_at=after(7200))
    ran = replace(hourly, last_run_at=after(60), next_run_at=after(3660), updated_at=after(61))
    assert await bench.schedules.put_many([edited, ran, paused]) == 2
    await export()
    assert await table() == expected(edited, replace(ran, updated_at=T0), paused)

    await bench.schedules.remove_many(["sch_2"])
    await export()
    assert await table() == expected(edited, paused)
    assert await bench.left() == {"sch_1", "sch_3"}

    await asyncio.to_thread(client.delete_dataset, "organizations_schedules", delete_contents=True)
    await bench.schedules.put_many([replace(edited, last_run_at=after(90))])
    await export()
    assert "not found" in (exporter.unready() or "").lower()
    bench.clock.now += 60
    await export()
    assert await table() == expected(replace(edited, last_run_at=after(90)), paused)
    client.close()


async def test_what_did_not_change_is_not_exported_again(bench: Bench) -> None:
    await bench.schedules.put_many([schedule_row(), schedule_row("sch_2")])
    await bench.exporter.export_once()
    await bench.schedules.put_many([schedule_row(updated_at=after(9)), schedule_row("sch_2")])
    await bench.schedules.remove_many(["sch_unknown"])
    await bench.exporter.export_once()
    assert bench.target.schedule_merges == [["sch_1", "sch_2"]]


async def test_many_ticks_within_the_delay_are_one_export_of_all_that_changed(bench: Bench) -> None:
    patient = bench.make(export_interval=20)
    for i in range(5):
        await bench.schedules.put_many(
            [schedule_row(last_run_at=after(i)), schedule_row("sch_2", last_run_at=after(i))]
        )
    await patient.export_once()
    assert bench.target.schedule_merges == []
    await bench.age("sch_1", seconds=21)
    await patient.export_once()
    # the other one hasn't waited as long, and goes along: a statement for each would cost as much as one for both
    assert bench.target.schedule_merges == [["sch_1", "sch_2"]]
    assert {row.last_run_at for row in bench.exported.values()} == {after(4)}


async def test_the_lag_is_that_of_the_oldest_change_of_either_kind(bench: Bench) -> None:
    assert await bench.outbox.lag_seconds() == 0
    await bench.schedules.put_many([schedule_row()])
    await bench.age("sch_1", seconds=50)
    assert 50 <= await bench.outbox.lag_seconds() < 80
    await bench.records.begin(new_run())
    assert 50 <= await bench.outbox.lag_seconds() < 80
    await bench.schedules.remove_many(["sch_1"])  # waits as long as the change before it
    assert 50 <= await bench.outbox.lag_seconds() < 80
    async with transaction(bench.engine) as connection:
        await connection.execute(text("UPDATE run_record SET unexported_since = now() - interval '100 s'"))
    assert await bench.outbox.lag_seconds() >= 100
    await bench.exporter.export_once()
    assert await bench.outbox.lag_seconds() == 0


async def test_a_change_made_while_a_batch_is_sent_stays_due(bench: Bench) -> None:
    await bench.exporter.export_once()  # makes the tables
    rows = [schedule_row(f"sch_{i}") for i in range(3)]
    await bench.schedules.put_many(rows)
    async with bench.outbox.turn() as turn:
        assert turn is not None
        batch = await turn.due_schedules(10, interval=NOW)
        await bench.schedules.put_many([replace(rows[0], is_enabled=False)])
        await bench.schedules.remove_many(["sch_1"])
        await turn.mark_schedules(batch)
    assert await bench.left() == {"sch_0", "sch_1", "sch_2"}
    await bench.exporter.export_once()
    assert bench.target.schedule_merges == [["sch_0", "sch_1"]]
    assert await bench.left() == {"sch_0", "sch_2"}


async def test_a_schedule_seen_again_while_its_end_is_sent_is_not_lost(bench: Bench) -> None:
    await bench.schedules.put_many([schedule_row()])
    await bench.exporter.export_once()
    await bench.schedules.remove_many(["sch_1"])

    def seen_again(_: Sequence[UnexportedSchedule]) -> None:
        bench.target.after_schedules = lambda _: None
        asyncio.run_coroutine_threadsafe(bench.schedules.put_many([schedule_row()]), loop).result(30)

    loop = asyncio.get_running_loop()
    bench.target.after_schedules = seen_again
    await bench.exporter.export_once()
    assert bench.exported == {}
    await bench.exporter.export_once()
    assert set(bench.exported) == await bench.schedules.listed() == {"sch_1"}


async def test_a_crash_between_merge_and_mark_gives_the_same_rows_after_the_next_pass(bench: Bench) -> None:
    await bench.schedules.put_many([schedule_row(), schedule_row("sch_2")])
    await bench.exporter.export_once()
    await bench.schedules.put_many([schedule_row(is_enabled=False)])
    await bench.schedules.remove_many(["sch_2"])

    def crash(_: Sequence[UnexportedSchedule]) -> None:
        bench.target.after_schedules = lambda _: None
        raise ServiceUnavailable("the answer was lost")

    bench.target.after_schedules = crash
    await bench.exporter.export_once()
    assert "the answer was lost" in (bench.exporter.unready() or "")
    rows = dict(bench.exported)
    assert (set(rows), rows["sch_1"].is_enabled) == ({"sch_1"}, False)
    assert await bench.left() == {"sch_1", "sch_2"}
    successor = bench.make()
    await successor.export_once()
    assert bench.exported == rows
    assert len(bench.target.settled) == 1  # it waited for the statement of the one that crashed, once
    assert await bench.left() == {"sch_1"}
    await successor.export_once()
    assert len(bench.target.schedule_merges) == 3


async def test_ended_runs_go_at_once_however_many_schedules_wait(bench: Bench) -> None:
    patient = bench.make(export_interval=30, export_batch_rows=2)
    await bench.schedules.put_many([schedule_row(f"sch_{i}") for i in range(9)])
    await bench.age("sch_0", seconds=31)
    await bench.ended("run_1")
    await patient.export_once()
    assert (set(bench.target.rows), bench.target.schedule_merges) == ({"run_1"}, [["sch_0", "sch_1"]])
