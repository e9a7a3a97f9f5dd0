"""A target for the exporter that keeps rows in memory, with the semantics of the MERGE, and fails when told to."""

from collections.abc import Callable, Sequence

from pipeline_core.store.runs import StoredRun


class MemoryTarget:
    """Rows by run id. `before` and `after` are called around each merge and may raise."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredRun] = {}
        self.merges: list[list[str]] = []
        self.settled: list[str] = []
        self.ensured = 0
        self.before: Callable[[Sequence[StoredRun]], None] = lambda _: None
        self.after: Callable[[Sequence[StoredRun]], None] = lambda _: None

    def ensure(self) -> None:
        self.ensured += 1

    def merge_runs(self, runs: Sequence[StoredRun], job_id: str) -> None:
        self.before(runs)
        self.merges.append([run.run_id for run in runs])
        for run in runs:
            there = self.rows.get(run.run_id)
            if there is None or there.completed_at is None:
                self.rows[run.run_id] = run
        self.after(runs)

    def settle(self, job_id: str) -> None:
        self.settled.append(job_id)
