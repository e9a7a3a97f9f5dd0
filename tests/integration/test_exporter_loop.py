"""The exporter between the real PostgreSQL and a target: nothing lost, nothing twice, whatever fails when."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from google.api_core.exceptions import BadRequest, NotFound, RetryError, ServiceUnavailable
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store import outbox as outbox_module
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_core.store.bigquery.record_tables import RecordTables
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.runs import StoredRun
from pipeline_local.services.processes import free_port
from pipeline_operator.exporter.loop import Exporter
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.exporter.settings import ExporterSettings
from support.exporting import Bench, Clock
from support.runs import after, new_run
from support.targets import Gate, MemoryTarget
from support.waiting import eventually


@pytest.fixture
def bench(engine: AsyncEngine) -> Bench:
    return Bench(engine)


def failing_once(target: MemoryTarget, where: str, error: Exception) -> None:
    def fail(_: Sequence[StoredRun]) -> None:
        setattr(target, where, lambda _: None)
        raise error

    setattr(target, where, fail)


@asynccontextmanager
async def running(exporter: Exporter) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(exporter.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)


async def test_a_pass_exports_what_is_due_once(bench: Bench) -> None:
    await bench.ended("run_1", "run_2")
    await bench.exporter.export_once()
    await bench.exporter.export_once()
    assert bench.target.merges == [["run_1", "run_2"]]


async def test_live_runs_wait_for_further_changes(bench: Bench) -> None:
    patient = bench.make(export_interval=30)
    await bench.records.begin(new_run("run_live"))
    await bench.ended("run_ended")
    await patient.export_once()
    assert bench.target.merges == [["run_ended"]]


async def test_a_crash_between_merge_and_mark_gives_the_same_rows_after_the_next_pass(bench: Bench) -> None:
    await bench.ended("run_1")
    failing_once(bench.target, "after", ServiceUnavailable("the answer was lost"))
    await bench.exporter.export_once()
    assert "the answer was lost" in (bench.exporter.unready() or "")
    rows = dict(bench.target.rows)
    successor = bench.make()
    await successor.export_once()
    assert bench.target.rows == rows
    assert len(bench.target.settled) == 1  # it waited for the statement of the one that crashed
    await successor.export_once()
    assert len(bench.target.merges) == 2


async def test_the_statement_of_a_crashed_exporter_is_waited_for_before_the_next_is_submitted(bench: Bench) -> None:
    await bench.ended("run_1")
    failing_once(bench.target, "after", ServiceUnavailable("away"))

    def still_running(job_id: str) -> None:
        raise TimeoutError(job_id)

    bench.target.settle = still_running  # type: ignore[method-assign]
    await bench.exporter.export_once()
    successor = bench.make()
    await successor.export_once()
    # neither of the runs nor of the schedules: it may be a statement of either
    assert (successor.unready() or "").count(": pipelines_export_") == 2
    assert len(bench.target.merges) == 1


async def test_an_outage_is_retried_until_it_is_over(bench: Bench) -> None:
    await bench.ended("run_1")
    failures = iter(range(3))

    def fail_thrice(_: Sequence[StoredRun]) -> None:
        if next(failures, None) is not None:
            raise ServiceUnavailable("away")

    bench.target.before = fail_thrice
    exporter = bench.make(clock=time.monotonic)

    async def unready() -> bool:
        return "bigquery" in (exporter.unready() or "")

    async def exported() -> bool:
        return "run_1" in bench.target.rows and exporter.unready() is None

    async with running(exporter):
        await eventually(unready)
        await eventually(exported)


async def test_a_target_that_hangs_is_not_taken_for_postgresql(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "TURN_SECONDS", 0.2)
    await bench.ended("run_1")
    bench.target.before = gate = Gate()

    async def blamed() -> bool:
        return (bench.exporter.unready() or "").startswith("bigquery: ")

    async with running(bench.exporter):
        await eventually(blamed)
        gate.leave.set()


@pytest.mark.parametrize("error", [RetryError("gave up", None), TimeoutError()])
async def test_so_is_one_that_was_tried_again_in_vain(bench: Bench, error: Exception) -> None:
    await bench.ended("run_1")
    failing_once(bench.target, "before", error)
    exporter = bench.make(clock=time.monotonic)
    causes: list[str | None] = []

    async def exported() -> bool:
        causes.append(exporter.unready())
        return "run_1" in bench.target.rows

    async with running(exporter):
        await eventually(exported)
    assert not any((cause or "").startswith(("postgresql", "internal")) for cause in causes)


async def test_a_row_that_is_refused_is_set_aside_and_tried_again_later(bench: Bench) -> None:
    def refuse(runs: Sequence[StoredRun]) -> None:
        if any(run.run_id == "run_bad" for run in runs):
            raise BadRequest("won't")

    bench.target.before = refuse
    await bench.ended("run_1", "run_bad", "run_2", "run_3")
    for _ in range(3):
        await bench.exporter.export_once()
    assert set(bench.target.rows) == {"run_1", "run_2", "run_3"}
    bench.target.before = lambda _: None
    await bench.exporter.export_once()
    assert "run_bad" not in bench.target.rows
    bench.clock.now += 601
    await bench.exporter.export_once()
    assert "run_bad" in bench.target.rows


async def test_a_dropped_table_is_made_again(bench: Bench) -> None:
    await bench.ended("run_1")
    exporter = bench.make(clock=time.monotonic)
    await exporter.export_once()
    await bench.ended("run_2")
    failing_once(bench.target, "before", NotFound("table"))

    async def exported() -> bool:
        return "run_2" in bench.target.rows

    async with running(exporter):
        await eventually(exported)
    assert bench.target.ensured == ["runs", "schedules", "runs"]


async def test_of_two_exporters_one_exports_at_a_time(bench: Bench) -> None:
    await bench.ended("run_1")
    bench.target.before = gate = Gate()
    other = MemoryTarget()
    first = asyncio.create_task(bench.exporter.export_once())
    await gate.entered()
    await bench.make(other).export_once()
    assert other.merges == []
    gate.leave.set()
    await first
    await bench.make(other).export_once()
    assert (bench.target.merges, other.merges) == ([["run_1"]], [])


async def test_two_exporters_under_load_export_everything(bench: Bench) -> None:
    other = bench.make(export_batch_rows=3)
    names = [f"run_{i:02}" for i in range(40)]

    async def exported() -> bool:
        return len(bench.target.rows) == len(names) and all(run.completed_at for run in bench.target.rows.values())

    async with running(bench.exporter), running(other):
        await asyncio.gather(*(bench.ended(name) for name in names))
        await eventually(exported)


async def test_a_stop_lets_the_batch_under_way_finish(bench: Bench) -> None:
    await bench.ended("run_1")
    bench.target.before = gate = Gate()
    stop = asyncio.Event()
    task = asyncio.create_task(bench.exporter.run(stop))
    await gate.entered()
    stop.set()
    gate.leave.set()
    await asyncio.wait_for(task, 30)
    assert "run_1" in bench.target.rows
    async with transaction(bench.engine) as connection:
        assert await connection.scalar(text("SELECT count(*) FROM run_record WHERE unexported_since IS NULL")) == 1


async def test_health_fails_when_the_loop_is_stuck_and_readiness_until_a_pass_succeeded(bench: Bench) -> None:
    assert bench.exporter.unhealthy() is None
    assert "no pass" in (bench.exporter.unready() or "")

    async def ready() -> bool:
        return bench.exporter.unready() is None

    async with running(bench.exporter):
        await eventually(ready)
    bench.clock.now += 1000
    assert "hasn't moved for 1000 s" in (bench.exporter.unhealthy() or "")


async def test_without_postgresql_it_says_so_and_the_lag_goes_on_growing(bench: Bench) -> None:
    engine = create_engine(f"postgresql://u:s3cret-word@127.0.0.1:{free_port()}/d")
    clock = Clock()
    metrics = ExporterMetrics(CollectorRegistry(), clock)
    settings = ExporterSettings(database_url="postgresql://h/d", env="test", export_poll=0.01)  # type: ignore[arg-type]
    exporter = Exporter(Outbox(engine), bench.target, settings, metrics, clock)
    metrics.observe_lag(5.0)

    async def unready() -> bool:
        return (exporter.unready() or "").startswith("postgresql: ")

    async with running(exporter):
        await eventually(unready)
    clock.now += 30
    assert metrics.lag() == 35
    assert "s3cret-word" not in (exporter.unready() or "")
    await engine.dispose()


async def test_the_lag_tells_of_an_outage_of_bigquery_while_it_lasts(bench: Bench) -> None:
    def away(_: Sequence[StoredRun]) -> None:
        seen.append(metrics.lag())
        raise ServiceUnavailable("away")

    seen: list[float] = []
    metrics = ExporterMetrics(CollectorRegistry(), bench.clock)
    settings = ExporterSettings(database_url="postgresql://h/d", env="dev", export_interval=1e-9)  # type: ignore[arg-type]
    exporter = Exporter(Outbox(bench.engine), bench.target, settings, metrics, bench.clock)
    await exporter.export_once()
    assert metrics.lag() == 0
    await bench.ended("run_1")
    bench.target.before = away
    await exporter.export_once()
    assert seen[0] > 0  # while a pass hangs
    bench.clock.now += 30
    assert metrics.lag() > 30  # and after it has failed
    bench.target.before = lambda _: None
    await exporter.export_once()
    assert metrics.lag() == 0


async def test_old_records_are_deleted_bounded_and_only_now_and_then(bench: Bench) -> None:
    exporter = bench.make(record_retention_days=1)
    await bench.ended("run_1")
    async with transaction(bench.engine) as connection:
        await connection.execute(text("UPDATE run_record SET completed_at = now() - interval '25 hours'"))
    await exporter.export_once()
    assert await bench.records.get("run_1") is None
    assert "run_1" in bench.target.rows


async def test_the_stand_in_has_exactly_the_last_states(bench: Bench, bigquery_settings: BigQuerySettings) -> None:
    client = bigquery_client(bigquery_settings)
    exporter = bench.make(RecordTables(client, "organizations_loop"), export_batch_rows=4)
    names = [f"run_{i}" for i in range(6)]
    for name in names:
        await bench.records.begin(new_run(name))
    await exporter.export_once()
    await bench.ended(*names[:5])
    await bench.records.advance(names[5], phase=Phase.RUNNING, at=after(1))
    while await exporter.export_once():
        pass
    query = "SELECT run_id, status, records_processed FROM organizations_loop.pipeline_runs ORDER BY run_id"
    rows = await asyncio.to_thread(lambda: [tuple(row) for row in client.query_and_wait(query)])
    assert rows == [(name, "completed", 1) for name in names[:5]] + [(names[5], "running", None)]
    client.close()
