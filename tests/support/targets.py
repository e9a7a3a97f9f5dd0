"""A target for the exporter that keeps rows in memory, with the semantics of the MERGE, and fails when told to."""

import asyncio
import threading
from collections.abc import Callable, Sequence

from google.api_core.exceptions import NotFound

from pipeline_core.store.runs import StoredRun
from pipeline_core.store.schedule_outbox import UnexportedSchedule


class MemoryTarget:
    """Rows by run id. `before` and `after` are called around each merge and may raise.

    Those of the schedules, `schedules`, are None while their table isn't there.
    """

    def __init__(self) -> None:
        self.rows: dict[str, StoredRun] = {}
        self.merges: list[list[str]] = []
        self.settled: list[str] = []
        self.ensured: list[str] = []
        self.before: Callable[[Sequence[StoredRun]], None] = lambda _: None
        self.after: Callable[[Sequence[StoredRun]], None] = lambda _: None
        self.schedules: dict[str, UnexportedSchedule] | None = None
        self.schedule_merges: list[list[str]] = []
        self.before_schedules: Callable[[Sequence[UnexportedSchedule]], None] = lambda _: None
        self.after_schedules: Callable[[Sequence[UnexportedSchedule]], None] = lambda _: None

    def has_schedules(self) -> bool:
        return self.schedules is not None

    def ensure_runs(self) -> None:
        self.ensured.append("runs")

    def ensure_schedules(self) -> None:
        self.ensured.append("schedules")
        if self.schedules is None:
            self.schedules = {}

    def merge_runs(self, runs: Sequence[StoredRun], job_id: str) -> None:
        self.before(runs)
        self.merges.append([run.run_id for run in runs])
        for run in runs:
            there = self.rows.get(run.run_id)
            if there is None or there.completed_at is None:
                self.rows[run.run_id] = run
        self.after(runs)

    def merge_schedules(self, schedules: Sequence[UnexportedSchedule], job_id: str) -> None:
        self.before_schedules(schedules)
        if self.schedules is None:
            raise NotFound("Not found: Table pipeline_schedules")
        self.schedule_merges.append([each.schedule_id for each in schedules])
        for each in schedules:
            if each.is_deleted:
                self.schedules.pop(each.schedule_id, None)
            else:
                self.schedules[each.schedule_id] = each
        self.after_schedules(schedules)

    def settle(self, job_id: str) -> None:
        self.settled.append(job_id)


class Gate:
    """Where a merge stands still, before it or after it, until `leave` is set: for half a minute at most."""

    def __init__(self) -> None:
        self.leave = threading.Event()
        self._entered = threading.Event()

    def __call__(self, _: object) -> None:
        self._entered.set()
        assert self.leave.wait(30)

    async def entered(self) -> None:
        """Return when a merge has come."""
        assert await asyncio.to_thread(self._entered.wait, 30)
