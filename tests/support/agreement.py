"""Whether a run ended once: its object, its record, its row in the history, the target and the cluster all agree."""

from datetime import UTC, datetime
from typing import Any

import psycopg
from google.cloud import bigquery
from psycopg.rows import dict_row

from support.installation import Installation, Manifest

_HISTORY = "organizations.pipeline_runs"


_KILLED = 137
_PASSING = 75
# What a container runtime says of a container that ended while it was away, and whose end it can't tell any more.
_UNKNOWN = 255


def check_once(installation: Installation, run: Manifest, *, stopped: bool = False) -> None:
    """Fail unless the ended run has one record, one row and one Job, which say the same, and nothing of it goes on.

    Of a run that was over the Job may have been `stopped`, lest it try again what is done.
    """
    status = run["status"]
    run_id, uid = status["runId"], run["metadata"]["uid"]
    told = {
        "status": status["phase"].lower(),
        "records_processed": status.get("recordsProcessed"),
        "started_at": _time(status.get("startedAt")),
        "completed_at": _time(status.get("completedAt")),
    }
    records = _records(installation.database_url, uid)
    assert [_same(record, told) for record in records] == [told], f"{run_id}: not one record that agrees"
    assert records[0]["run_id"] == run_id
    installation.row(run_id)  # waits for the exporter
    assert [_same(row, told) for row in _rows(installation.client, run_id)] == [told], f"{run_id}: not one such row"
    made = installation.leftovers(run_id)
    jobs, pods = (len([each for each in made if each.startswith(kind)]) for kind in ("job", "pod/"))
    assert status["attempts"] == records[0]["attempts"]
    assert (jobs, pods) == (1, status["attempts"]) or (stopped and jobs <= 1 and pods <= status["attempts"]), made
    installation.eventually(lambda: not installation.alive(run_id))


def check_attempts(installation: Installation, run: Manifest, *, killed: int = 0, unknown: int = 0) -> None:
    """Fail unless the last attempt succeeded, `killed` were killed, and others gave up as BigQuery was away.

    Of at most `unknown` the container runtime may have lost how they ended; if that was the last one, its Job was
    stopped as the run was over, and the pods went with it.
    """
    pods = installation.kubectl.read("pods", f"--selector=pipelines.dev/run-id={run['status']['runId']}")["items"]
    pods.sort(key=lambda pod: pod["metadata"]["creationTimestamp"])
    codes = [pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] for pod in pods]
    if unknown and (not codes or codes[-1] == _UNKNOWN):
        return
    assert codes[-1] == 0, codes
    assert codes.count(_KILLED) == killed, codes
    assert codes.count(_UNKNOWN) <= unknown, codes
    assert set(codes[:-1]) <= {_KILLED, _PASSING, _UNKNOWN}, codes


def check_target(installation: Installation, org: str, run: Manifest) -> None:
    """Fail unless the target holds the source's days once, was published once, and nothing is left beside it.

    Attempts but the last couldn't always drop what they had staged: a table of each may be left, to expire in a day.
    """
    first, last = (
        datetime.fromisoformat(run["spec"]["parameters"][name]).date() for name in ("start_date", "end_date")
    )
    expected = installation.source_sums(first, last)
    assert len(expected) == (last - first).days + 1
    assert installation.target_sums(org, first, last) == expected
    assert run["status"]["recordsProcessed"] == sum(day.records for day in expected.values())
    client = installation.client
    commits = client.query_and_wait(
        f"SELECT row_count FROM `{client.project}.{org}_dev._pipelines_commits` WHERE run_id = @run",
        job_config=_parameter("run", run["status"]["runId"]),
    )
    assert [row["row_count"] for row in commits] == [run["status"]["recordsProcessed"]]
    left = [table.table_id for table in client.list_tables(f"{org}_dev")]
    staged = [name for name in left if name.startswith(("_staging_", "_raw_"))]
    assert len(staged) < run["status"]["attempts"], staged


def _records(database_url: str, uid: str) -> list[dict[str, Any]]:
    with psycopg.connect(database_url, row_factory=dict_row, connect_timeout=10) as connection:
        return connection.execute("SELECT * FROM run_record WHERE object_uid = %s", [uid]).fetchall()


def _rows(client: bigquery.Client, run_id: str) -> list[dict[str, Any]]:
    query = f"SELECT * FROM `{client.project}.{_HISTORY}` WHERE run_id = @run"
    return [dict(row) for row in client.query_and_wait(query, job_config=_parameter("run", run_id))]


def _parameter(name: str, value: str) -> bigquery.QueryJobConfig:
    return bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter(name, "STRING", value)])


def _same(there: dict[str, Any], told: dict[str, Any]) -> dict[str, Any]:
    """The columns that the object has too, with the object's precision."""
    return {name: _seconds(there[name]) for name in told}


def _seconds(value: object) -> object:
    return value.astimezone(UTC).replace(microsecond=0) if isinstance(value, datetime) else value


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0) if text else None
