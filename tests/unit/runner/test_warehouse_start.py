"""A job whose request got through though its answer was lost: the one that is there is the step's own, made once."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from google.api_core.exceptions import Conflict, NotFound

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery import warehouse
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.errors import DataError, TransientError

FIRST, SECOND = ("run_1_step_a_1", "run_1_step_a_2")
PASSING = {"reason": "backendError", "message": "it went wrong"}


class Client:
    """BigQuery's client where the ids of `jobs` exist, each with how it has ended; whoever makes one anew loses it."""

    def __init__(self, **jobs: dict[str, str] | None) -> None:
        self.jobs = jobs
        self.made: list[str] = []
        self.asked: list[tuple[str, str]] = []

    def query(self, _sql: str, _config: object, job_id: str, **_: Any) -> SimpleNamespace:
        return self._make(job_id)

    def load_table_from_file(self, *_: Any, job_id: str, **_options: Any) -> SimpleNamespace:
        return self._make(job_id)

    def get_job(self, job_id: str, *, location: str, **_: Any) -> SimpleNamespace:
        self.asked.append((job_id, location))
        if job_id not in self.jobs:
            raise NotFound(f"Not found: Job p:{job_id}")  # type: ignore[no-untyped-call]
        return self._job(job_id)

    def _make(self, job_id: str) -> SimpleNamespace:
        if job_id in self.jobs:
            raise Conflict(f"Already Exists: Job p:{job_id}")  # type: ignore[no-untyped-call]
        self.made.append(job_id)
        self.jobs[job_id] = None
        return self._job(job_id)

    def _job(self, job_id: str) -> SimpleNamespace:
        return SimpleNamespace(
            job_id=job_id, state="DONE", error_result=self.jobs[job_id], result=lambda **_: [{"job": job_id}]
        )


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouse.random, "uniform", lambda *_: 0.0)


def before(client: Client) -> Warehouse:
    made = Warehouse(BigQuerySettings(project="p", credentials="anonymous"), Identity("acme", "run_1", "a"))
    made.client = client  # type: ignore[assignment]
    return made


def query(client: Client) -> list[Any]:
    return asyncio.run(before(client).query("step", "SELECT", location="EU", what="asking"))


def load(client: Client) -> None:
    columns = (Column("name", "STRING"),)
    part: Any = SimpleNamespace()
    asyncio.run(before(client).load_ndjson("step", part, "p.d.t", columns, location="EU"))


def test_a_job_of_an_id_that_is_free_is_made() -> None:
    client = Client()
    assert query(client) == [{"job": FIRST}]
    assert (client.made, client.asked) == ([FIRST], [])


def test_the_query_that_is_there_is_awaited_and_gives_its_rows() -> None:
    client = Client(**{FIRST: None})
    assert query(client) == [{"job": FIRST}]
    assert (client.made, client.asked) == ([], [(FIRST, "EU")])


def test_the_load_that_is_there_is_not_made_again() -> None:
    client = Client(**{FIRST: None})
    load(client)
    assert (client.made, client.asked) == ([], [(FIRST, "EU")])


def test_one_that_is_there_and_has_failed_for_a_passing_reason_gets_a_successor() -> None:
    client = Client(**{FIRST: PASSING})
    assert query(client) == [{"job": SECOND}]
    assert (client.made, client.asked) == ([SECOND], [(FIRST, "EU")])


def test_one_that_is_there_and_has_failed_for_good_is_told() -> None:
    with pytest.raises(DataError, match=r"^asking: it went wrong$"):
        query(Client(**{FIRST: {"reason": "invalidQuery", "message": "it went wrong"}}))


def test_one_that_nobody_knows_of_after_all_is_for_another_attempt() -> None:
    class Unknown(Client):
        def _make(self, job_id: str) -> SimpleNamespace:
            self.made.append(job_id)
            raise Conflict(f"Already Exists: Job p:{job_id}")  # type: ignore[no-untyped-call]

    client = Unknown()
    with pytest.raises(TransientError, match="Not found: Job"):
        query(client)
    # never under another id: the first may be at work
    assert set(client.made) == {FIRST}
