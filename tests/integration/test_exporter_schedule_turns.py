"""Two exporters of schedules: one exports at a time, and whatever is lost, the target only moves forwards."""

import asyncio
import itertools
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store.engine import transaction
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.export_turn import ExportTurn
from pipeline_core.store.schedule_outbox import UnexportedSchedule
from pipeline_core.store.schedules import ScheduleRecords
from support.exporting import Bench
from support.runs import T0, after
from support.schedules import schedule_row
from support.targets import Gate, MemoryTarget
from support.waiting import eventually

NOW = timedelta(0)


@pytest.fixture
def bench(engine: AsyncEngine) -> Bench:
    return Bench(engine)


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
    bench.target.before_schedules = gate = Gate()
    other = MemoryTarget()
    first = asyncio.create_task(bench.exporter.export_once())
    await gate.entered()
    await bench.make(other).export_once()
    assert (other.schedule_merges, other.ensured) == ([], [])
    gate.leave.set()
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
