"""A query takes as few requests as it can: its rows come with the answer that it is over, and nobody polls for that."""

import asyncio
import json
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from google.auth.credentials import AnonymousCredentials

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery import waiting, warehouse
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.errors import DataError

FIRST, SECOND = ("run_1_step_a_1", "run_1_step_a_2")
ROWS = [("a", "1.5"), ("b", "0.000000001")]


def failed(reason: str) -> dict[str, Any]:
    return {"state": "DONE", "errorResult": {"reason": reason, "message": "it went wrong"}}


class Server:
    """BigQuery's interface for jobs; `states` are told one by one, the last of them ever after."""

    is_mtls = False

    def __init__(self, *states: dict[str, Any] | str, refused: int = 0, page: int = len(ROWS)) -> None:
        self.states = [{"state": each} if isinstance(each, str) else each for each in states]
        self.refused = refused
        self.page = page
        self.seen: list[str] = []

    def request(self, method: str, url: str, data: str | None = None, **_: Any) -> SimpleNamespace:
        path = urlsplit(url).path
        kind = "rows" if "/queries/" in path else "job"
        job = json.loads(data)["jobReference"]["jobId"] if data else path.rpartition("/")[2]
        self.seen.append(f"{method} {kind} {job}")
        if kind == "rows" and self.refused:
            self.refused -= 1
            return self._answer(400, {"error": {"code": 400, "message": "no", "errors": [{"reason": "invalid"}]}})
        return self._answer(200, self._rows(url) if kind == "rows" else self._job(job))

    def _job(self, job: str) -> dict[str, Any]:
        status = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return {
            "jobReference": {"projectId": "p", "jobId": job, "location": "US"},
            "configuration": {"query": {"query": "SELECT"}},
            "statistics": {"query": {"statementType": "SELECT"}},
            "status": status,
        }

    def _rows(self, url: str) -> dict[str, Any]:
        asked = parse_qs(urlsplit(url).query)
        start = int(asked.get("pageToken", ["0"])[0])
        assert int(asked.get("maxResults", ["1"])[0]) > 0
        found = ROWS[start : start + self.page]
        more = {"pageToken": str(start + self.page)} if start + self.page < len(ROWS) else {}
        return {
            "jobReference": {"projectId": "p", "jobId": "j", "location": "US"},
            "jobComplete": True,
            "totalRows": str(len(ROWS)),
            "schema": {"fields": [{"name": "name", "type": "STRING"}, {"name": "amount", "type": "NUMERIC"}]},
            "rows": [{"f": [{"v": value} for value in row]} for row in found],
            **more,
        }

    @staticmethod
    def _answer(status: int, body: dict[str, Any]) -> SimpleNamespace:
        request = SimpleNamespace(method="GET", url="http://bigquery")
        return SimpleNamespace(
            status_code=status, headers={}, content=b"{}", text="", json=lambda: body, request=request
        )


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse.random, "uniform", lambda *_: 0.0)
    monkeypatch.setattr(waiting, "_POLL_SECONDS", (0.0, 0.0))


@pytest.fixture
def query() -> Callable[..., list[Any]]:
    def run(server: Server, **options: Any) -> list[Any]:
        made = Warehouse(BigQuerySettings(project="p", credentials="anonymous"), Identity("acme", "run_1", "a"))
        made.client = bigquery.Client(project="p", credentials=AnonymousCredentials(), _http=server)  # type: ignore[arg-type, no-untyped-call]
        return asyncio.run(made.query("step", "SELECT", location="US", what="asking", **options))

    return run


EXPECTED = [{"name": name, "amount": Decimal(amount)} for name, amount in ROWS]


def test_the_rows_of_a_query_that_is_over_at_once_take_one_more_request(query: Callable[..., list[Any]]) -> None:
    server = Server("DONE")
    assert query(server) == EXPECTED
    assert server.seen == [f"POST job {FIRST}", f"GET rows {FIRST}"]


def test_rows_that_nobody_wants_take_none(query: Callable[..., list[Any]]) -> None:
    server = Server("DONE")
    assert query(server, wants_rows=False) == []
    assert server.seen == [f"POST job {FIRST}"]


@pytest.mark.parametrize("wants_rows", [True, False])
def test_a_query_that_takes_a_while_is_asked_for_its_rows(query: Callable[..., list[Any]], wants_rows: bool) -> None:
    server = Server("RUNNING", "RUNNING", "DONE")
    query(server, wants_rows=wants_rows)
    assert server.seen == [f"POST job {FIRST}", f"GET job {FIRST}", f"GET rows {FIRST}", f"GET job {FIRST}"]


def test_what_doesnt_fit_one_answer_is_asked_for_page_by_page(query: Callable[..., list[Any]]) -> None:
    server = Server("DONE", page=1)
    assert query(server) == EXPECTED
    assert server.seen == [f"POST job {FIRST}", f"GET rows {FIRST}", f"GET rows {FIRST}"]


def test_a_request_for_rows_that_fails_says_nothing_about_the_query(query: Callable[..., list[Any]]) -> None:
    server = Server("RUNNING", "RUNNING", "RUNNING", "DONE", refused=1)
    assert query(server) == EXPECTED
    assert [each for each in server.seen if each.startswith("POST")] == [f"POST job {FIRST}"]


@pytest.mark.parametrize("before", [(), ("RUNNING", "RUNNING")])
def test_a_query_that_fails_for_a_passing_reason_is_made_again(
    query: Callable[..., list[Any]], before: tuple[str, ...]
) -> None:
    server = Server(*before, failed("backendError"), "DONE", refused=len(before) // 2)
    assert query(server) == EXPECTED
    assert [each for each in server.seen if each.startswith("POST")] == [f"POST job {FIRST}", f"POST job {SECOND}"]


@pytest.mark.parametrize("before", [(), ("RUNNING", "RUNNING")])
def test_a_wrong_query_is_told_in_bigquerys_words(query: Callable[..., list[Any]], before: tuple[str, ...]) -> None:
    server = Server(*before, failed("invalidQuery"), refused=len(before) // 2)
    with pytest.raises(DataError, match=r"^asking: it went wrong$"):
        query(server)
