"""The dataset of records in BigQuery: makes its tables and merges rows into them. Blocking: to be used on a thread."""

import json
import time
from collections.abc import Sequence
from concurrent.futures import TimeoutError as JobTimeoutError
from typing import Protocol

from google.api_core.exceptions import Conflict, NotFound
from google.api_core.retry import Retry
from google.cloud import bigquery

from pipeline_core.store.bigquery.client import BOUNDED_RETRY, REQUEST_SECONDS
from pipeline_core.store.bigquery.record_schema import (
    RUNS,
    SCHEDULES,
    runs_parameter,
    runs_statement,
    schedules_parameter,
    schedules_statement,
    schema,
)
from pipeline_core.store.runs import StoredRun
from pipeline_core.store.schedule_outbox import UnexportedSchedule

# A statement runs at most this long, by BigQuery's own clock; we wait a little longer for it to say so.
_JOB_SECONDS = 90
_WAIT_SECONDS = 120
_POLL_SECONDS = 0.25


class _Job(Protocol):
    """A job of any kind."""

    @property
    def job_id(self) -> str: ...

    def done(self, retry: Retry = ..., timeout: float | None = ...) -> bool: ...

    def exception(self) -> Exception | None: ...


class TableMismatchError(Exception):
    """A table is there already with a column of another type; the message names table, column and both types."""


class RecordTables:
    """`pipeline_runs` and `pipeline_schedules` in one dataset of the client's project and location.

    Methods raise google.api_core's GoogleAPIError or google.auth's errors when BigQuery refuses or is away: within a
    minute where it doesn't answer, within three where it does and a statement goes on.
    """

    def __init__(self, client: bigquery.Client, dataset: str = "organizations") -> None:
        self._client = client
        self._dataset = bigquery.DatasetReference(client.project, dataset)

    def has_schedules(self) -> bool:
        """Whether the table of schedules is there."""
        try:
            self._client.get_table(self._dataset.table(SCHEDULES), retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS)
        except NotFound:
            return False
        return True

    def ensure_runs(self) -> None:
        """Make the dataset and the table of runs if they are missing, and add missing columns; nothing is ever dropped.

        Raises TableMismatchError if a column of another type stands in the way.
        """
        self._ensure_table(RUNS, bigquery.TimePartitioning(bigquery.TimePartitioningType.DAY, field="created_at"))

    def ensure_schedules(self) -> None:
        """The same for the table of schedules: what is wrong with one table is no matter of the other's."""
        self._ensure_table(SCHEDULES, None)

    def merge_runs(self, runs: Sequence[StoredRun], job_id: str) -> None:
        """Bring the rows of these runs (each once) to their present state, in one statement; repeating it is harmless.

        Raises GoogleAPIError when it failed, BadRequest if BigQuery refuses it or another statement got in its way;
        Conflict if it has been settled before it came; JobTimeoutError when its end isn't known: `settle` it then.
        """
        created = [run.created_at for run in runs]
        statement = runs_statement(str(self._dataset.table(RUNS)), min(created), max(created))
        self._merge(statement, runs_parameter(runs), job_id)

    def merge_schedules(self, schedules: Sequence[UnexportedSchedule], job_id: str) -> None:
        """Bring the rows of these schedules (each once) to their present state, or to an end, in one statement.

        Raises what `merge_runs` does.
        """
        statement = schedules_statement(str(self._dataset.table(SCHEDULES)))
        self._merge(statement, schedules_parameter(schedules), job_id)

    def _merge(self, statement: str, rows: bigquery.ArrayQueryParameter, job_id: str) -> None:
        job = self._client.query(
            statement,
            job_id=job_id,
            job_retry=None,  # a failed job's id can't be used again; the exporter repeats with another
            job_config=bigquery.QueryJobConfig(
                query_parameters=[rows],
                job_timeout_ms=_JOB_SECONDS * 1000,
                labels={"app": "pipelines", "component": "exporter"},
            ),
            retry=BOUNDED_RETRY,
            timeout=REQUEST_SECONDS,
        )
        _succeed(job)

    def settle(self, job_id: str) -> None:
        """Return when this job isn't running, however it ended, and never will be.

        Raises JobTimeoutError when it still runs after its limit.
        """
        try:
            _wait(self._client.get_job(job_id, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS))
        except NotFound:
            _wait(self._take(job_id))

    def _take(self, job_id: str) -> _Job:
        """Use up an id that BigQuery doesn't know: an id is good for one job, so whoever still has it is refused.

        It was announced, and may come yet: its exporter lost its turn while its request was on its way.
        """
        try:
            return self._client.query(
                "SELECT 1", job_id=job_id, job_retry=None, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS
            )
        except Conflict:  # it has come in this very moment
            return self._client.get_job(job_id, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS)

    def _ensure_dataset(self) -> None:
        # Asked for first: making one takes a right in the whole project, which an account for this dataset alone lacks.
        try:
            self._client.get_dataset(self._dataset, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS)
        except NotFound:
            dataset = bigquery.Dataset(self._dataset)
            dataset.location = self._client.location
            self._client.create_dataset(dataset, exists_ok=True, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS)

    def _ensure_table(self, name: str, partitioning: bigquery.TimePartitioning | None) -> None:
        self._ensure_dataset()
        reference = self._dataset.table(name)
        try:
            table = self._client.get_table(reference, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS)
        except NotFound:
            made = bigquery.Table(reference, schema=schema(name))
            made.time_partitioning = partitioning
            made.clustering_fields = ["org_slug"]
            table = self._client.create_table(made, exists_ok=True, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS)
        for column in _missing_columns(table, schema(name)):
            # A statement each, which is idempotent, so that two exporters can't overwrite each other's schema.
            options = f"OPTIONS (description = {json.dumps(column.description, ensure_ascii=False)})"
            statement = (
                f"ALTER TABLE `{reference}` ADD COLUMN IF NOT EXISTS {column.name} {column.field_type} {options}"
            )
            job = self._client.query(statement, job_retry=None, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS)
            _succeed(job)


def _succeed(job: _Job) -> None:
    """Wait for the job's end, and raise the error that it ended with."""
    _wait(job)
    if (error := job.exception()) is not None:
        raise error


def _wait(job: _Job) -> None:
    """Wait for the job's end, whatever it is. The client's own `result` bounds neither its calls nor its retries."""
    until = time.monotonic() + _WAIT_SECONDS
    while not job.done(retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS):
        if time.monotonic() >= until:
            raise JobTimeoutError(f"job {job.job_id} still runs")
        time.sleep(_POLL_SECONDS)


def _missing_columns(table: bigquery.Table, expected: Sequence[bigquery.SchemaField]) -> list[bigquery.SchemaField]:
    """The columns that the table lacks. They become nullable, since BigQuery adds no other to a table."""
    there = {field.name.lower(): field for field in table.schema}
    missing = []
    for field in expected:
        found = there.get(field.name)
        if found is None:
            missing.append(field)
        elif found.field_type != field.field_type or found.mode == "REPEATED":
            kind = f"{found.mode} {found.field_type}" if found.mode == "REPEATED" else found.field_type
            raise TableMismatchError(
                f"{table.reference}: column {field.name} is {kind}, {field.field_type} is expected"
            )
    return missing
