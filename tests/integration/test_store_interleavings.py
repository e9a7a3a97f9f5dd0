"""Any interleaving of reports, exports and crashes: forward only, one end, and BigQuery has exactly the last state.

Runs against the real PostgreSQL and a target in memory that has the semantics of the MERGE.
"""

import asyncio
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from google.api_core.exceptions import ServiceUnavailable
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.engine import create_engine, transaction
from pipeline_core.store.outbox import Outbox
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun
from pipeline_operator.exporter.loop import Exporter
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.exporter.settings import ExporterSettings
from support.runs import after, new_run
from support.targets import MemoryTarget

IDS = ("run_a", "run_b", "run_c")
RUNS = st.sampled_from(IDS)
LIVE = st.sampled_from([phase for phase in Phase if not phase.is_final])
FINAL = st.sampled_from([phase for phase in Phase if phase.is_final])
SECONDS = st.integers(0, 100)


class Lives(RuleBasedStateMachine):
    """Three runs, reports about them in any order, and an exporter that may die at either side of its statement."""

    url: str

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.engine = create_engine(self.url)
        self.records, self.outbox = RunRecords(self.engine), Outbox(self.engine)
        self.target = MemoryTarget()
        self.seen: dict[str, StoredRun] = {}
        self.ends: dict[str, StoredRun] = {}
        self.loop.run_until_complete(self._clear())
        for run_id in IDS:
            self.begin_run(run_id)

    @rule(run_id=RUNS)
    def begin_run(self, run_id: str) -> None:
        self.loop.run_until_complete(self.records.begin(new_run(run_id)))

    @rule(run_id=RUNS, phase=LIVE, at=SECONDS, started=st.none() | SECONDS, progress=st.integers(0, 100))
    def advance(self, run_id: str, phase: Phase, at: int, started: int | None, progress: int) -> None:
        started_at = None if started is None else after(started)
        self.loop.run_until_complete(
            self.records.advance(run_id, phase=phase, at=after(at), started_at=started_at, progress=progress)
        )

    @rule(run_id=RUNS, phase=FINAL, at=SECONDS, count=st.integers(0, 9))
    def finish(self, run_id: str, phase: Phase, at: int, count: int) -> None:
        end = self.loop.run_until_complete(
            self.records.finish(run_id, phase=phase, at=after(at), records_processed=count)
        )
        assert end == self.ends.setdefault(run_id, end)

    @rule(rows=st.integers(1, 3))
    def export(self, rows: int) -> None:
        self.loop.run_until_complete(self._exporter(rows).export_once())

    @rule(where=st.sampled_from(["before", "after"]), rows=st.integers(1, 3))
    def export_and_die(self, where: str, rows: int) -> None:
        def die(_: Sequence[StoredRun]) -> None:
            raise ServiceUnavailable("died")

        setattr(self.target, where, die)
        self.loop.run_until_complete(self._exporter(rows).export_once())
        setattr(self.target, where, lambda _: None)

    @rule(run_id=RUNS, phase=FINAL)
    def export_while_it_ends(self, run_id: str, phase: Phase) -> None:
        async def end_meanwhile() -> None:
            async with self.outbox.turn() as turn:
                assert turn is not None
                batch = await turn.due(3, interval=timedelta(0))
                end = await self.records.finish(run_id, phase=phase, at=after(50))
                assert end == self.ends.setdefault(run_id, end)
                self.target.merge_runs(batch, "job")
                await turn.mark(batch)

        self.loop.run_until_complete(end_meanwhile())

    @invariant()
    def records_only_go_forward(self) -> None:
        for run in self._all():
            before = self.seen.get(run.run_id, run)
            assert run.phase.rank >= before.phase.rank
            assert run.revision >= before.revision
            assert run.transitions[: len(before.transitions)] == before.transitions
            assert before.started_at in (None, run.started_at)
            ranks = [entry.phase.rank for entry in run.transitions]
            assert ranks == sorted(set(ranks))
            assert run.transitions[-1].phase is run.phase
            assert run.phase.is_final == (run.completed_at is not None)
            if run.phase.is_final:
                assert run == self.ends[run.run_id]
            self.seen[run.run_id] = run

    def teardown(self) -> None:
        while self.loop.run_until_complete(self._exporter(2).export_once()):
            pass
        assert {exported(run) for run in self.target.rows.values()} == {exported(run) for run in self._all()}
        self.loop.run_until_complete(self.engine.dispose())
        self.loop.close()

    def _all(self) -> list[StoredRun]:
        found = (self.loop.run_until_complete(self.records.get(run_id)) for run_id in IDS)
        return [run for run in found if run is not None]

    def _exporter(self, rows: int) -> Exporter:
        """A new process each time: nothing is remembered but in PostgreSQL."""
        exporter_settings = ExporterSettings(
            database_url=self.url, env="test", export_interval=1e-9, export_batch_rows=rows
        )  # type: ignore[arg-type]
        return Exporter(self.outbox, self.target, exporter_settings, ExporterMetrics(CollectorRegistry()))

    async def _clear(self) -> None:
        async with transaction(self.engine) as connection:
            await connection.execute(text("TRUNCATE run_record, export_job"))


def exported(run: StoredRun) -> tuple[object, ...]:
    """What BigQuery holds of a run; progress and messages it doesn't."""
    return run.run_id, run.phase, run.started_at, run.completed_at, run.records_processed, run.revision


@pytest.fixture
def machine(database_url: str) -> Iterator[type[Lives]]:
    Lives.url = database_url
    return Lives


def run(machine: type[Lives], examples: int, steps: int) -> None:
    options = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine, settings=options)  # type: ignore[no-untyped-call]


def test_some_interleavings(machine: type[Lives]) -> None:
    run(machine, examples=8, steps=20)


@pytest.mark.full
def test_many_interleavings(machine: type[Lives]) -> None:
    run(machine, examples=150, steps=40)
