"""A row or a table that BigQuery refuses keeps nothing else out: no run, no schedule, no deletion of old records."""

from collections.abc import Callable, Sequence

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, ServiceUnavailable
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from pipeline_core.store.bigquery.record_tables import TableMismatchError
from pipeline_core.store.engine import transaction
from pipeline_core.store.schedule_outbox import UnexportedSchedule
from support.exporting import Bench
from support.runs import new_run
from support.schedules import schedule_row


@pytest.fixture
def bench(engine: AsyncEngine) -> Bench:
    return Bench(engine)


async def test_a_row_that_is_refused_keeps_no_other_out(bench: Bench) -> None:
    def refuse(rows: Sequence[UnexportedSchedule]) -> None:
        if any(row.schedule_id == "sch_bad" for row in rows):
            raise BadRequest("won't")

    bench.target.before_schedules = refuse
    await bench.schedules.put_many([schedule_row(name) for name in ("sch_1", "sch_bad", "sch_2", "sch_3")])
    await bench.records.begin(new_run())
    for _ in range(3):
        await bench.exporter.export_once()
    assert set(bench.exported) == {"sch_1", "sch_2", "sch_3"}
    assert set(bench.target.rows) == {"run_1"}
    bench.target.before_schedules = lambda _: None
    bench.clock.now += 601
    await bench.exporter.export_once()
    assert "sch_bad" in bench.exported


async def test_one_table_that_refuses_everything_keeps_the_other_from_nothing(bench: Bench) -> None:
    def forbidden(_: object) -> None:
        raise Forbidden("no right on this table")

    await bench.schedules.put_many([schedule_row()])
    bench.target.before_schedules = forbidden
    await bench.records.begin(new_run())
    await bench.exporter.export_once()
    assert set(bench.target.rows) == {"run_1"}
    bench.target.before_schedules, bench.target.before = lambda _: None, forbidden
    bench.clock.now += 60
    await bench.records.begin(new_run("run_2"))
    await bench.exporter.export_once()
    assert set(bench.exported) == {"sch_1"}


async def test_one_table_that_keeps_failing_slows_nothing_down(bench: Bench) -> None:
    """Neither the export of the other one nor the deletion of old records; and it is itself left alone for a while."""
    attempts = []

    def forbidden(rows: Sequence[UnexportedSchedule]) -> None:
        attempts.append(len(rows))
        raise Forbidden("no right on this table")

    bench.target.before_schedules = forbidden
    exporter = bench.make(export_batch_rows=2, export_poll=10, record_retention_days=1)
    await bench.schedules.put_many([schedule_row()])
    for i in range(6):
        await bench.records.begin(new_run(f"run_{i}"))
    await bench.ended("run_old")
    async with transaction(bench.engine) as connection:
        await connection.execute(
            text("UPDATE run_record SET completed_at = now() - interval '2 d' WHERE run_id = 'run_old'")
        )
    passes = 1
    while await exporter.export_once():
        passes += 1
    assert (len(bench.target.rows), passes, attempts) == (7, 4, [1])
    bench.clock.now += 601  # after the first pass, which had something to delete only once it was exported
    await exporter.export_once()
    assert await bench.records.get("run_old") is None
    assert attempts == [1, 1]
    # Each further pause is longer, up to a minute.
    for _ in range(5):
        bench.clock.now += 60
        await exporter.export_once()
    assert len(attempts) == 7
    bench.clock.now += 29
    await exporter.export_once()
    assert len(attempts) == 7
    bench.target.before_schedules = lambda _: None
    bench.clock.now += 31
    await exporter.export_once()
    assert (set(bench.exported), exporter.unready() or "") == ({"sch_1"}, "no pass has ended yet")


async def test_old_records_are_deleted_while_a_table_fails(bench: Bench) -> None:
    def forbidden(_: object) -> None:
        raise Forbidden("no right on this table")

    await bench.ended("run_1")
    await bench.schedules.put_many([schedule_row()])
    async with transaction(bench.engine) as connection:
        await connection.execute(text("UPDATE run_record SET completed_at = now() - interval '2 d'"))
    bench.target.before_schedules = forbidden
    await bench.make(record_retention_days=1).export_once()
    assert await bench.records.get("run_1") is None


async def test_the_failure_of_each_table_is_told(bench: Bench) -> None:
    def forbidden(what: str) -> Callable[[object], None]:
        def refuse(_: object) -> None:
            raise Forbidden(f"no right on {what}")

        return refuse

    bench.target.before, bench.target.before_schedules = forbidden("runs"), forbidden("schedules")
    await bench.schedules.put_many([schedule_row()])
    await bench.records.begin(new_run())
    with capture_logs() as logs:
        for _ in range(3):
            await bench.exporter.export_once()
            bench.clock.now += 60
    failed = [(line["table"], line["error"]) for line in logs if line["log_level"] == "warning"]
    assert failed == [
        ("pipeline_runs", "403 no right on runs"),
        ("pipeline_schedules", "403 no right on schedules"),
    ]
    assert "bigquery: pipeline_runs: 403 no right on runs" in (bench.exporter.unready() or "")
    assert "bigquery: pipeline_schedules: 403 no right on schedules" in (bench.exporter.unready() or "")


@pytest.mark.parametrize("wrong", ["runs", "schedules"])
async def test_a_table_that_does_not_match_keeps_the_other_from_nothing(
    bench: Bench, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mismatch() -> None:
        raise TableMismatchError("column org_slug is INTEGER, STRING is expected")

    monkeypatch.setattr(bench.target, f"ensure_{wrong}", mismatch)
    await bench.schedules.put_many([schedule_row()])
    await bench.records.begin(new_run())
    with capture_logs() as logs:
        await bench.exporter.export_once()
    exported = {"runs": set(bench.target.rows), "schedules": set(bench.target.schedules or ())}
    assert exported == {"runs": {"run_1"}, "schedules": {"sch_1"}} | {wrong: set()}
    assert "org_slug is INTEGER" in (bench.exporter.unready() or "")
    made = [line["event"] for line in logs if "is made" in line["event"]]
    assert len(made) == (wrong == "runs")  # said once it is


@pytest.mark.parametrize("crashes", [False, True])
async def test_a_dropped_table_is_made_again_with_all_schedules(bench: Bench, crashes: bool) -> None:
    await bench.schedules.put_many([schedule_row(), schedule_row("sch_2")])
    await bench.exporter.export_once()
    bench.target.schedules = None
    await bench.schedules.put_many([schedule_row(is_enabled=False)])
    await bench.exporter.export_once()
    assert "Not found" in (bench.exporter.unready() or "")
    bench.clock.now += 60
    exporter = bench.exporter
    if crashes:
        ensure = bench.target.ensure_schedules

        def crash_after() -> None:
            ensure()
            raise ServiceUnavailable("crashed when the table was made")

        bench.target.ensure_schedules = crash_after  # type: ignore[method-assign]
        await exporter.export_once()
        assert "crashed when the table was made" in (exporter.unready() or "")
        bench.target.ensure_schedules = ensure  # type: ignore[method-assign]
        exporter = bench.make()
    await exporter.export_once()
    assert {name: row.is_enabled for name, row in bench.exported.items()} == {"sch_1": False, "sch_2": True}
