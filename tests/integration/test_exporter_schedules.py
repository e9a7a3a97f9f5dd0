"""The schedules' mirror between the real PostgreSQL and a target: exact, forwards only, whatever fails when."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, ServiceUnavailable
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_core.store.bigquery.record_schema import SCHEDULES, schema
from pipeline_core.store.bigquery.record_tables import RecordTables, TableMismatchError
from pipeline_core.store.engine import transaction
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.outbox import ExportTurn, Outbox
from pipeline_core.store.records import RunRecords
from pipeline_core.store.schedule_outbox import UnexportedSchedule
from pipeline_core.store.schedules import ScheduleRecords, ScheduleRow
from pipeline_operator.exporter.lanes import Target
from pipeline_operator.exporter.loop import Exporter
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.exporter.settings import ExporterSettings
from support.runs import T0, after, new_run
from support.schedules import schedule_row
from support.targets import MemoryTarget
from support.waiting import eventually

NOW = timedelta(0)


class Bench:
    """An exporter, the mirror that it exports, and its target."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.schedules = ScheduleRecords(engine)
        self.runs = RunRecords(engine)
        self.outbox = Outbox(engine)
        self.target = MemoryTarget()
        self.now = 1000.0
        self.exporter = self.make()

    def make(self, target: Target | None = None, **values: object) -> Exporter:
        settings = ExporterSettings(
            env="test",
            **{"database_url": "postgresql://h/d", "export_interval": 1e-9, "export_poll": 0.01, **values},  # type: ignore[arg-type]
        )
        metrics = ExporterMetrics(CollectorRegistry(), lambda: self.now)
        return Exporter(self.outbox, target or self.target, settings, metrics, lambda: self.now)

    async def left(self) -> set[str]:
        """The ids of the rows in PostgreSQL, those that are deleted included."""
        async with transaction(self.engine) as connection:
            return set(await connection.scalars(text("SELECT schedule_id FROM schedule_record")))

    async def age(self, schedule_id: str, seconds: float) -> None:
        """Make a change look as if it had been waiting this long."""
        statement = (
            "UPDATE schedule_record SET unexported_since = now() - make_interval(secs => :s) WHERE schedule_id = :id"
        )
        async with transaction(self.engine) as connection:
            await connection.execute(text(statement), {"s": seconds, "id": schedule_id})

    @property
    def exported(self) -> dict[str, UnexportedSchedule]:
        assert self.target.schedules is not None
        return self.target.schedules


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
    bench.now += 60
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
    await bench.runs.begin(new_run())
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


async def test_an_older_state_that_comes_late_is_refused_before_it_is_sent(bench: Bench) -> None:
    """An exporter reads a schedule and is cut off, unawares; another one sends a newer state and is done with it.

    Nothing is under way then, and nothing in BigQuery tells how old a row is: the announcement has to be refused.
    """
    await bench.schedules.put_many([schedule_row()])

    async def cut_off() -> None:
        async with bench.outbox.turn() as first:
            assert first is not None
            assert await first.announced_job() is None
            stale = await first.due_schedules(10, interval=NOW)
            assert stale[0].is_enabled
            async with transaction(bench.engine) as connection:
                held = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
                await connection.execute(text(held))
            await bench.schedules.put_many([schedule_row(is_enabled=False)])
            await eventually(exported)
            try:
                await first.announce("job_late")
            except StoreUnavailableError as error:
                refusals.append(str(error))

    async def exported() -> bool:
        await bench.exporter.export_once()
        return bool(bench.target.schedules)

    refusals: list[str] = []
    with pytest.raises(StoreUnavailableError):  # the end of its turn tells it, too, which is too late
        await cut_off()
    assert ["another exporter" in refusal for refusal in refusals] == [True]
    assert not bench.exported["sch_1"].is_enabled


async def test_of_two_exporters_one_exports_at_a_time(bench: Bench) -> None:
    await bench.schedules.put_many([schedule_row()])
    entered, leave = threading.Event(), threading.Event()

    def hold(_: Sequence[UnexportedSchedule]) -> None:
        entered.set()
        assert leave.wait(30)

    bench.target.before_schedules = hold
    other = MemoryTarget()
    first = asyncio.create_task(bench.exporter.export_once())
    await asyncio.to_thread(entered.wait, 30)
    await bench.make(other).export_once()
    assert (other.schedule_merges, other.ensured) == ([], [])
    leave.set()
    await first
    assert bench.target.schedule_merges == [["sch_1"]]


async def test_two_operators_and_two_exporters_at_once_end_with_what_is_there(bench: Bench) -> None:
    stop = asyncio.Event()
    exporting = [
        asyncio.create_task(exporter.run(stop)) for exporter in (bench.exporter, bench.make(export_batch_rows=3))
    ]
    names = [f"sch_{i:02}" for i in range(20)]

    async def operate(order: list[str]) -> None:
        for i in range(10):
            await bench.schedules.put_many([schedule_row(name, last_run_at=after(i)) for name in order])
            await bench.schedules.remove_many(order[:5])

    async def settled() -> bool:
        return await bench.left() == set(names[5:15]) and await bench.outbox.lag_seconds() == 0

    try:
        await asyncio.gather(operate(names), operate(names[::-1]))
        await bench.schedules.put_many([schedule_row(name, is_enabled=False) for name in names])
        await bench.schedules.remove_many([*names[:5], *names[15:]])
        await eventually(settled)
    finally:
        stop.set()
        await asyncio.wait_for(asyncio.gather(*exporting), 30)
    assert {name: row.is_enabled for name, row in bench.exported.items()} == dict.fromkeys(names[5:15], False)


async def test_a_row_that_is_refused_keeps_no_other_out(bench: Bench) -> None:
    def refuse(rows: Sequence[UnexportedSchedule]) -> None:
        if any(row.schedule_id == "sch_bad" for row in rows):
            raise BadRequest("won't")

    bench.target.before_schedules = refuse
    await bench.schedules.put_many([schedule_row(name) for name in ("sch_1", "sch_bad", "sch_2", "sch_3")])
    await bench.runs.begin(new_run())
    for _ in range(3):
        await bench.exporter.export_once()
    assert set(bench.exported) == {"sch_1", "sch_2", "sch_3"}
    assert set(bench.target.rows) == {"run_1"}
    bench.target.before_schedules = lambda _: None
    bench.now += 601
    await bench.exporter.export_once()
    assert "sch_bad" in bench.exported


async def test_one_table_that_refuses_everything_keeps_the_other_from_nothing(bench: Bench) -> None:
    def forbidden(_: object) -> None:
        raise Forbidden("no right on this table")

    await bench.schedules.put_many([schedule_row()])
    bench.target.before_schedules = forbidden
    await bench.runs.begin(new_run())
    await bench.exporter.export_once()
    assert set(bench.target.rows) == {"run_1"}
    bench.target.before_schedules, bench.target.before = lambda _: None, forbidden
    bench.now += 60
    await bench.runs.begin(new_run("run_2"))
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
        await bench.runs.begin(new_run(f"run_{i}"))
    await bench.runs.begin(new_run("run_old"))
    await bench.runs.finish("run_old", phase=Phase.COMPLETED, at=after(3), records_processed=1)
    async with transaction(bench.engine) as connection:
        await connection.execute(
            text("UPDATE run_record SET completed_at = now() - interval '2 d' WHERE run_id = 'run_old'")
        )
    passes = 1
    while await exporter.export_once():
        passes += 1
    assert (len(bench.target.rows), passes, attempts) == (7, 4, [1])
    bench.now += 601  # after the first pass, which had something to delete only once it was exported
    await exporter.export_once()
    assert await bench.runs.get("run_old") is None
    assert attempts == [1, 1]
    # Each further pause is longer, up to a minute.
    for _ in range(5):
        bench.now += 60
        await exporter.export_once()
    assert len(attempts) == 7
    bench.now += 29
    await exporter.export_once()
    assert len(attempts) == 7
    bench.target.before_schedules = lambda _: None
    bench.now += 31
    await exporter.export_once()
    assert (set(bench.exported), exporter.unready() or "") == ({"sch_1"}, "no pass has ended yet")


async def test_old_records_are_deleted_while_a_table_fails(bench: Bench) -> None:
    def forbidden(_: object) -> None:
        raise Forbidden("no right on this table")

    await bench.runs.begin(new_run())
    await bench.runs.finish("run_1", phase=Phase.COMPLETED, at=after(3), records_processed=1)
    await bench.schedules.put_many([schedule_row()])
    async with transaction(bench.engine) as connection:
        await connection.execute(text("UPDATE run_record SET completed_at = now() - interval '2 d'"))
    bench.target.before_schedules = forbidden
    await bench.make(record_retention_days=1).export_once()
    assert await bench.runs.get("run_1") is None


async def test_the_failure_of_each_table_is_told(bench: Bench) -> None:
    def forbidden(what: str) -> Callable[[object], None]:
        def refuse(_: object) -> None:
            raise Forbidden(f"no right on {what}")

        return refuse

    bench.target.before, bench.target.before_schedules = forbidden("runs"), forbidden("schedules")
    await bench.schedules.put_many([schedule_row()])
    await bench.runs.begin(new_run())
    with capture_logs() as logs:
        for _ in range(3):
            await bench.exporter.export_once()
            bench.now += 60
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
    await bench.runs.begin(new_run())
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
    bench.now += 60
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


async def test_ended_runs_go_at_once_however_many_schedules_wait(bench: Bench) -> None:
    patient = bench.make(export_interval=30, export_batch_rows=2)
    await bench.schedules.put_many([schedule_row(f"sch_{i}") for i in range(9)])
    await bench.age("sch_0", seconds=31)
    await bench.runs.begin(new_run())
    await bench.runs.finish("run_1", phase=Phase.COMPLETED, at=after(3), records_processed=1)
    await patient.export_once()
    assert (set(bench.target.rows), bench.target.schedule_merges) == ({"run_1"}, [["sch_0", "sch_1"]])


# What may happen, in any order, to two exporters that each may lose their turn between any two steps.
STEPS = st.lists(
    st.sampled_from(("change", "remove", "read 0", "read 1", "send 0", "send 1", "lose 0", "lose 1")), max_size=25
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
# The first statement of all is the one that is overtaken, and one that isn't.
@example(["change", "read 0", "lose 0", "change", "read 1", "send 1", "send 0"])
@example(["change", "read 0", "send 0", "change", "read 0", "lose 0", "change", "read 1", "send 1", "send 0"])
@example(["change", "read 0", "lose 0", "change", "read 1", "send 0", "send 1"])
async def test_whatever_is_lost_when_bigquery_only_moves_forwards(engine: AsyncEngine, steps: list[str]) -> None:
    async with transaction(engine) as connection:
        await connection.execute(text("TRUNCATE schedule_record, export_job"))
    world = _World(engine)
    await world.play(steps)


class _World:
    """Two exporters step by step; one that has lost its turn goes on as if it had it, with a connection of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.schedules = ScheduleRecords(engine)
        self.holder: int | None = None
        self.turns: dict[int, tuple[ExportTurn, list[UnexportedSchedule]]] = {}
        self.version = 0
        self.jobs = (f"job_{i}" for i in itertools.count())
        self.sent = 0  # the version that BigQuery has

    async def play(self, steps: list[str]) -> None:
        for step in steps:
            match step.split():
                case ["change"]:
                    self.version += 1
                    await self.schedules.put_many([schedule_row(last_run_at=after(self.version))])
                case ["remove"]:
                    self.version += 1
                    await self.schedules.put_many([schedule_row(last_run_at=after(self.version))])
                    await self.schedules.remove_many(["sch_1"])
                case ["read", who] if self.holder is None:
                    await self._read(int(who))
                case ["send", who] if int(who) in self.turns:
                    await self._send(int(who))
                case ["lose", who] if self.holder == int(who):
                    self.holder = None  # the server ended its session; it doesn't know
        self.holder, self.turns = None, {}
        await self._read(0)
        if self.turns:
            await self._send(0)
        assert self.sent == self.version

    async def _read(self, who: int) -> None:
        async with transaction(self.engine) as connection:
            turn = ExportTurn(connection, self.engine)
            # Nothing to settle: here a statement ends when it is sent.
            await turn.announced_job()
            if due := await turn.due_schedules(10, interval=NOW):
                self.holder, self.turns[who] = who, (turn, due)

    async def _send(self, who: int) -> None:
        turn, due = self.turns.pop(who)
        try:
            await turn.announce(next(self.jobs))
        except StoreUnavailableError:
            pass  # it has lost its turn, or the one that has came first: it reads again
        else:
            version = round((due[0].last_run_at - T0).total_seconds()) if due[0].last_run_at else 0
            assert version >= self.sent
            self.sent = version
            if self.holder == who:
                async with transaction(self.engine) as connection:
                    turn._connection = connection
                    await turn.mark_schedules(due)
        if self.holder == who:
            self.holder = None
