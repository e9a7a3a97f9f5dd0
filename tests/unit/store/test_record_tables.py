"""Each call of the record tables is bounded in time, and no announced statement comes after it was settled."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound, RetryError, ServiceUnavailable
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from pipeline_core.store.bigquery import record_tables
from pipeline_core.store.bigquery.record_tables import JobTimeoutError, RecordTables
from support.runs import stored_run
from support.schedules import unexported_schedule


class Server:
    """Jobs by id, as BigQuery keeps them: an id is good for one job. `before` a request may raise."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, Any]] = {}
        self.statements: list[str] = []
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self.requests = 0
        self.timeouts: set[float | None] = set()
        self.state = "DONE"
        self.error: dict[str, str] | None = None

    def request(self, method: str, path: str, data: Any = None, timeout: float | None = None, **_: Any) -> Any:
        self.requests += 1
        self.timeouts.add(timeout)
        self.before(method, path)
        if method == "POST":
            job_id = data["jobReference"]["jobId"]
            if job_id in self.jobs:
                raise Conflict(f"Already Exists: Job {job_id}")
            self.statements.append(data["configuration"]["query"]["query"].split()[0])
            failed = {"errorResult": self.error, "errors": [self.error]} if self.error else {}
            status = {"state": self.state, **failed}
            self.jobs[job_id] = {**data, "status": status, "statistics": {}}
            return self.jobs[job_id]
        job_id = path.rsplit("/", 1)[-1]
        if job_id not in self.jobs:
            raise NotFound(f"Not found: Job {job_id}")
        return self.jobs[job_id]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def tables(server: Server, monkeypatch: pytest.MonkeyPatch) -> RecordTables:
    client = bigquery.Client("p", AnonymousCredentials(), location="US")
    monkeypatch.setattr(client._connection, "api_request", server.request)
    monkeypatch.setattr(record_tables, "_POLL_SECONDS", 0.0)
    return RecordTables(client)


def away(*_: str) -> None:
    raise ServiceUnavailable("away")


@pytest.mark.parametrize(
    "call",
    [
        lambda tables: tables.ensure_runs(),
        lambda tables: tables.ensure_schedules(),
        lambda tables: tables.has_schedules(),
        lambda tables: tables.settle("job_1"),
        lambda tables: merge(tables),
        lambda tables: merge_schedules(tables),
    ],
)
def test_a_call_ends_soon_while_bigquery_is_away(
    server: Server, tables: RecordTables, monkeypatch: pytest.MonkeyPatch, call: Callable[[RecordTables], None]
) -> None:
    """The client's own default is ten minutes: longer than a turn, whose thread would go on without it."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    server.before = away
    with pytest.raises(RetryError):
        call(tables)
    assert now[0] <= 31
    assert server.timeouts == {30}


def merge(tables: RecordTables, job_id: str = "job_1") -> None:
    tables.merge_runs([stored_run()], job_id)


def merge_schedules(tables: RecordTables, job_id: str = "job_1") -> None:
    tables.merge_schedules([unexported_schedule()], job_id)


@pytest.mark.parametrize("merging", [merge, merge_schedules])
def test_a_statement_that_comes_after_it_was_settled_is_refused(
    server: Server, tables: RecordTables, merging: Callable[[RecordTables, str], None]
) -> None:
    """Its exporter had announced it and lost its turn before BigQuery got it."""
    tables.settle("job_1")
    with pytest.raises(Conflict):
        merging(tables, "job_1")
    assert server.statements == ["SELECT"]


def test_one_that_comes_in_the_instant_in_which_it_is_settled_is_waited_for(
    server: Server, tables: RecordTables
) -> None:
    def comes_first(method: str, _: str) -> None:
        if method == "POST" and server.requests == 2:
            merge(tables, "job_1")

    server.before = comes_first
    tables.settle("job_1")
    assert server.statements == ["MERGE"]


def test_what_still_runs_after_its_limit_is_not_settled(
    server: Server, tables: RecordTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_tables, "_WAIT_SECONDS", 0.01)
    server.state = "RUNNING"
    with pytest.raises(JobTimeoutError):
        merge(tables)
    with pytest.raises(JobTimeoutError):
        tables.settle("job_1")
    server.jobs["job_1"]["status"]["state"] = "DONE"
    tables.settle("job_1")


def test_a_statement_that_failed_is_told_and_is_settled(server: Server, tables: RecordTables) -> None:
    server.error = {"reason": "invalidQuery", "message": "no such type"}
    with pytest.raises(BadRequest, match="no such type"):
        merge(tables)
    tables.settle("job_1")
