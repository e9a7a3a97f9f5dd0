"""The record tables on BigQuery's stand-in: made, extended, and merged into, with every value as it was."""

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Forbidden, GoogleAPICallError, NotFound
from google.cloud import bigquery

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_core.store.bigquery.record_schema import RUNS, SCHEDULES, schema
from pipeline_core.store.bigquery.record_tables import RecordTables, TableMismatchError
from support.runs import T0, after, stored_run
from support.schedules import unexported_schedule

_datasets = itertools.count(1)
_jobs = (f"job_{i}" for i in itertools.count(1))

ENDED = stored_run(
    phase=Phase.COMPLETED,
    started_at=after(1),
    completed_at=after(2.5),
    records_processed=2**62,
    parameters={"date": "2026-11-02", "n": 5, "big": 10**25, "share": 0.1, "on": True, "text": "{{x}} 'ü' \"\\\n"},
)


@pytest.fixture
def client(bigquery_settings: BigQuerySettings) -> Iterator[bigquery.Client]:
    made = bigquery_client(bigquery_settings)
    yield made
    made.close()


@pytest.fixture
def dataset() -> str:
    return f"records_{next(_datasets)}"


@pytest.fixture
def tables(client: bigquery.Client, dataset: str) -> RecordTables:
    made = RecordTables(client, dataset)
    made.ensure_runs()
    made.ensure_schedules()
    return made


def rows(client: bigquery.Client, dataset: str) -> list[dict[str, Any]]:
    return [dict(row) for row in client.query_and_wait(f"SELECT * FROM {dataset}.{RUNS} ORDER BY run_id")]


def schedules(client: bigquery.Client, dataset: str) -> list[dict[str, Any]]:
    return [dict(row) for row in client.query_and_wait(f"SELECT * FROM {dataset}.{SCHEDULES} ORDER BY schedule_id")]


def test_the_tables_are_made_as_specified(client: bigquery.Client, tables: RecordTables, dataset: str) -> None:
    runs, schedules = client.get_table(f"{dataset}.{RUNS}"), client.get_table(f"{dataset}.{SCHEDULES}")
    for table, name in ((runs, RUNS), (schedules, SCHEDULES)):
        assert [(f.name, f.field_type, f.mode, f.description) for f in table.schema] == [
            (f.name, f.field_type, f.mode, f.description) for f in schema(name)
        ]
        assert table.clustering_fields == ["org_slug"]
    assert (runs.time_partitioning.type_, runs.time_partitioning.field) == ("DAY", "created_at")
    assert schedules.time_partitioning is None
    tables.ensure_runs()  # again is harmless
    tables.ensure_schedules()


def test_every_value_arrives_as_it_was(client: bigquery.Client, tables: RecordTables, dataset: str) -> None:
    tables.merge_runs([ENDED, stored_run("run_2", created_by="schedule:sch_1")], next(_jobs))
    first, second = rows(client, dataset)
    parameters = first.pop("parameters")
    assert {**parameters, "big": float(parameters["big"])} == {**ENDED.parameters, "big": 1e25}
    assert first == {
        "run_id": "run_1",
        "org_slug": "acme",
        "provider": "gcp",
        "domain": "cost",
        "pipeline": "billing",
        "status": "completed",
        "started_at": after(1),
        "completed_at": after(2.5),
        "records_processed": 2**62,
        "error_message": None,
        "created_by": "key:k1",
        "created_at": T0,
    }
    assert (second["status"], second["started_at"], second["completed_at"]) == ("pending", None, None)


def test_a_row_follows_its_run_and_stays_at_its_end(
    client: bigquery.Client, tables: RecordTables, dataset: str
) -> None:
    live = stored_run(phase=Phase.RUNNING, started_at=after(1))
    for run in (stored_run(), live, ENDED, ENDED, live, stored_run()):
        tables.merge_runs([run], next(_jobs))
    (row,) = rows(client, dataset)
    assert (row["status"], row["records_processed"]) == ("completed", 2**62)


def test_runs_of_many_days_in_one_statement(client: bigquery.Client, tables: RecordTables, dataset: str) -> None:
    runs = [stored_run(f"run_{i}", created_at=T0 + timedelta(days=20 * i)) for i in range(4)]
    tables.merge_runs(runs, next(_jobs))
    tables.merge_runs([runs[3], runs[0]], next(_jobs))
    assert [row["created_at"] for row in rows(client, dataset)] == [run.created_at for run in runs]


def test_a_table_of_an_earlier_version_gets_the_missing_columns(client: bigquery.Client, dataset: str) -> None:
    client.create_dataset(dataset)
    earlier = [field for field in schema(RUNS) if field.name not in ("parameters", "created_by")]
    client.create_table(bigquery.Table(f"{client.project}.{dataset}.{RUNS}", [*earlier]))
    tables = RecordTables(client, dataset)
    tables.ensure_runs()
    tables.merge_runs([ENDED], next(_jobs))
    assert rows(client, dataset)[0]["created_by"] == "key:k1"


def test_a_dataset_that_is_there_needs_no_right_to_make_one(
    client: bigquery.Client, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise Forbidden("bigquery.datasets.create is missing")

    client.create_dataset(dataset)
    monkeypatch.setattr(client, "create_dataset", forbidden)
    tables = RecordTables(client, dataset)
    tables.ensure_runs()
    tables.merge_runs([ENDED], next(_jobs))
    assert len(rows(client, dataset)) == 1


def test_a_column_of_another_type_is_named(client: bigquery.Client, dataset: str) -> None:
    client.create_dataset(dataset)
    wrong = [bigquery.SchemaField("run_id", "INTEGER")]
    client.create_table(bigquery.Table(f"{client.project}.{dataset}.{RUNS}", wrong))
    tables = RecordTables(client, dataset)
    with pytest.raises(TableMismatchError, match=r"pipeline_runs: column run_id is INTEGER, STRING is expected"):
        tables.ensure_runs()
    tables.ensure_schedules()  # which is as it should be
    tables.merge_schedules([unexported_schedule()], next(_jobs))
    assert len(schedules(client, dataset)) == 1


def test_a_table_that_was_dropped_is_not_found_and_can_be_made_again(
    client: bigquery.Client, tables: RecordTables, dataset: str
) -> None:
    client.delete_table(f"{dataset}.{RUNS}")
    with pytest.raises(NotFound):
        tables.merge_runs([ENDED], next(_jobs))
    tables.ensure_runs()
    tables.merge_runs([ENDED], next(_jobs))
    assert len(rows(client, dataset)) == 1


def test_every_value_of_a_schedule_arrives_as_it_was(
    client: bigquery.Client, tables: RecordTables, dataset: str
) -> None:
    parameters = {"date": "{{yesterday}}", "n": 5, "big": 10**25, "text": "{{x}} 'ü' \"\\\n"}
    first = unexported_schedule(last_run_at=after(1.5), parameters=parameters, updated_at=after(2))
    second = unexported_schedule("sch_2", is_enabled=False, next_run_at=None, parameters={})
    tables.merge_schedules([first, second], next(_jobs))
    one, other = schedules(client, dataset)
    given = one.pop("parameters")
    assert {**given, "big": float(given["big"])} == {**parameters, "big": 1e25}
    assert one == {
        "schedule_id": "sch_1",
        "org_slug": "acme",
        "provider": "gcp",
        "domain": "cost",
        "pipeline": "billing",
        "cron_expression": "0 6 * * *",
        "is_enabled": True,
        "last_run_at": after(1.5),
        "next_run_at": after(3600),
        "created_at": T0,
        "updated_at": after(2),
    }
    assert (other["is_enabled"], other["last_run_at"], other["next_run_at"]) == (False, None, None)
    assert other["parameters"] == {}


def test_a_schedules_row_follows_it_and_goes_with_it(
    client: bigquery.Client, tables: RecordTables, dataset: str
) -> None:
    """In one statement: one that is new, one that changed, one that is gone, one that was never there."""
    tables.merge_schedules([unexported_schedule(f"sch_{i}") for i in range(3)], next(_jobs))
    changed = unexported_schedule("sch_1", cron_expression="0 1 * * *", last_run_at=after(9), next_run_at=None)
    gone = [unexported_schedule(name, is_deleted=True) for name in ("sch_2", "sch_never_there")]
    statement = [unexported_schedule("sch_new"), changed, *gone]
    for _ in range(2):  # again is harmless
        tables.merge_schedules(statement, next(_jobs))
        found = {row["schedule_id"]: row for row in schedules(client, dataset)}
        assert set(found) == {"sch_0", "sch_1", "sch_new"}
        row = found["sch_1"]
        assert (row["cron_expression"], row["last_run_at"], row["next_run_at"]) == ("0 1 * * *", after(9), None)
        assert found["sch_0"]["cron_expression"] == "0 6 * * *"


def test_a_table_of_schedules_that_was_dropped_is_missed(
    client: bigquery.Client, tables: RecordTables, dataset: str
) -> None:
    assert tables.has_schedules()
    client.delete_table(f"{dataset}.{SCHEDULES}")
    assert not tables.has_schedules()
    with pytest.raises(NotFound):
        tables.merge_schedules([unexported_schedule()], next(_jobs))
    client.delete_dataset(dataset, delete_contents=True)
    assert not tables.has_schedules()
    tables.ensure_schedules()
    tables.merge_schedules([unexported_schedule()], next(_jobs))
    assert len(schedules(client, dataset)) == 1


def test_a_job_that_ended_failed_or_never_came_is_settled(
    client: bigquery.Client, tables: RecordTables, dataset: str
) -> None:
    done, failed = next(_jobs), next(_jobs)
    tables.merge_runs([ENDED], done)
    with pytest.raises((BadRequest, GoogleAPICallError)):
        client.query("SELECT no_such_column", job_id=failed, job_retry=None).result()
    for job_id in (done, failed, "job_that_never_came"):
        tables.settle(job_id)
