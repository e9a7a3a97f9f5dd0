"""BigQuery for one run: its jobs, awaited without blocking, with names that a repeated step finds again."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, TypeVar

import structlog
from google.api_core.exceptions import Conflict, NotFound
from google.auth.credentials import Credentials

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.attempts import Attempts
from pipeline_runner.bigquery.columns import Column, fields
from pipeline_runner.bigquery.failures import explained, job_error
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.tables import BRIEF_RETRY, BRIEF_SECONDS, RETRY_SECONDS, Tables
from pipeline_runner.bigquery.tables import REQUEST_SECONDS as REQUEST_SECONDS
from pipeline_runner.bigquery.threads import in_thread
from pipeline_runner.bigquery.waiting import Row as Row
from pipeline_runner.bigquery.waiting import answered, finished
from pipeline_runner.errors import TransientError

_log = structlog.get_logger(__name__)

_UPLOAD_SECONDS = 120.0
_LABEL = re.compile(r"[^a-z0-9_-]")

# What it takes to write a table; told where it isn't granted.
WRITE_RIGHT = "bigquery.tables.getData and bigquery.tables.updateData on it (role BigQuery Data Editor)"

T = TypeVar("T")


@dataclass(frozen=True)
class Identity:
    """Whose steps these are: the run, and the pod that makes this attempt at it, which fences off a zombie."""

    org_slug: str
    run_id: str
    attempt: str

    def job_id(self, step: str, number: int) -> str:
        """The id of a step's job; a failed job's id can't be used again, so each try has its number."""
        return f"{self.run_id}_{step}_{self.attempt}_{number}"

    @property
    def labels(self) -> dict[str, str]:
        """For BigQuery's bill: which organization and run a job worked for."""
        values = {"pipelines-org": self.org_slug, "pipelines-run-id": self.run_id}
        return {key: _LABEL.sub("_", value.lower())[:63] for key, value in values.items()}


class Warehouse(Tables):
    """Tables and jobs in the installation's project. Methods raise TransientError, ConfigError or DataError."""

    def __init__(
        self,
        settings: BigQuerySettings,
        identity: Identity,
        *,
        max_bytes_billed: int | None = None,
        retry_seconds: float = RETRY_SECONDS,
        credentials: Credentials | None = None,
    ) -> None:
        super().__init__(settings, retry_seconds=retry_seconds, credentials=credentials)
        self.identity = identity
        self._max_bytes_billed = max_bytes_billed
        self._running: dict[str, tuple[str, str]] = {}
        self._steps: set[str] = set()

    async def query(
        self, step: str, sql: str, *, location: str, what: str, right: str = "",
        inspect: Callable[[Sequence[bigquery.TableReference]], None] | None = None, wants_rows: bool = True,
    ) -> list[Row]:  # fmt: skip
        """Run statements as one job and return the (few) rows of the last one; none unless the caller `wants_rows`.

        `inspect` is given the tables that the job has read, before anything is made of its rows, and may raise.
        """
        config = bigquery.QueryJobConfig(labels=self.identity.labels, maximum_bytes_billed=self._max_bytes_billed)

        def start(job_id: str) -> bigquery.QueryJob:
            return self.client.query(
                sql, config, job_id, location=location, retry=self._retry, timeout=REQUEST_SECONDS, job_retry=None
            )

        finish = partial(answered, retry=self._retry, wants_rows=wants_rows)
        job, rows = await self._job(step, start, finish, location, what, right)
        if inspect is not None:
            inspect(job.referenced_tables)
        return rows

    async def dry_run(
        self, sql: str, *, location: str, what: str, right: str = ""
    ) -> tuple[int, Sequence[bigquery.TableReference]]:
        """How many bytes a query would read, and of which tables, those behind views included; nothing runs."""
        config = bigquery.QueryJobConfig(dry_run=True, use_query_cache=False)
        with explained(what, right=right):
            job = await in_thread(
                lambda: self.client.query(
                    sql, config, location=location, retry=self._retry, timeout=REQUEST_SECONDS, job_retry=None
                )
            )
        return int(job.total_bytes_processed or 0), job.referenced_tables

    async def load_parquet(self, step: str, part: IO[bytes], destination: str, columns: tuple[Column, ...],
                           *, location: str) -> None:  # fmt: skip
        """Append one Parquet file to a table."""
        options = bigquery.ParquetOptions()
        options.enable_list_inference = True  # lists become plain arrays, not records named list.element
        await self._load(step, part, destination, columns, location, bigquery.SourceFormat.PARQUET, options)

    async def load_ndjson(self, step: str, part: IO[bytes], destination: str, columns: tuple[Column, ...],
                          *, location: str) -> None:  # fmt: skip
        """Append one file of newline-delimited JSON to a table. An empty file can't be loaded."""
        await self._load(step, part, destination, columns, location, bigquery.SourceFormat.NEWLINE_DELIMITED_JSON)

    async def _load(self, step: str, part: IO[bytes], destination: str, columns: tuple[Column, ...], location: str,
                    source_format: str, parquet: bigquery.ParquetOptions | None = None) -> None:  # fmt: skip
        config = bigquery.LoadJobConfig(
            labels=self.identity.labels,
            source_format=source_format,
            schema=fields(columns),
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            create_disposition=bigquery.CreateDisposition.CREATE_NEVER,
        )
        if parquet is not None:
            config.parquet_options = parquet

        def start(job_id: str) -> bigquery.LoadJob:
            # Without a size this takes the resumable upload, which sends again only what was lost.
            return self.client.load_table_from_file(
                part, destination, rewind=True, job_id=job_id, location=location, job_config=config,
                timeout=_UPLOAD_SECONDS,
            )  # fmt: skip

        right = f"bigquery.jobs.create and bigquery.tables.updateData on {destination}"
        await self._job(step, start, partial(finished, retry=self._retry), location, f"loading {destination}", right)

    async def stop(self) -> None:
        """Cancel the jobs that were running when this run was told to stop, and wait until they are over."""
        await asyncio.gather(*(self._cancel(job_id, location) for job_id, location in self._running.values()))

    async def _cancel(self, job_id: str, location: str) -> None:
        with explained("cancelling a job"):
            try:
                job = await in_thread(
                    lambda: self.client.cancel_job(job_id, location=location, retry=BRIEF_RETRY, timeout=BRIEF_SECONDS)
                )
                await finished(job, self._retry)
            except NotFound:
                return  # it hadn't begun

    async def _job(
        self, step: str, start: Callable[[str], bigquery.job._AsyncJob], finish: Callable[[Any], Awaitable[T]],
        location: str, what: str, right: str,
    ) -> tuple[Any, T]:  # fmt: skip
        """Run a job to its end, again under another id when it failed for a passing reason: the job, what it brought.

        `finish` awaits the end and gets what the job brings; it raises nothing where the job itself has failed.
        """
        if step in self._steps:
            # The id of its job would be the first one's: BigQuery would give us that one's answer.
            raise RuntimeError(f"a run has one step named {step}, and this is the second")
        self._steps.add(step)
        number, attempts = 1, Attempts()
        while True:
            job_id = self.identity.job_id(step, number)
            self._running[step] = (job_id, location)
            try:
                with explained(what, right=right):
                    job = await in_thread(partial(self._start, start, job_id, location))
                    brought = await finish(job)
                if not job.error_result:
                    del self._running[step]
                    return job, brought
                # Only a job that has failed gets a successor: one that we lost sight of may still be at work.
                number += 1
                del self._running[step]
                raise job_error(what, job.error_result)
            except TransientError as error:
                wait = attempts.wait_after(error)
                _log.warning("a job failed, trying again", step=step, error=str(error))
                await asyncio.sleep(random.uniform(0.5, 1.0) * wait)  # noqa: S311

    def _start(self, start: Callable[[str], bigquery.job._AsyncJob], job_id: str, location: str) -> Any:
        try:
            return start(job_id)
        except Conflict:
            # Our first request got through and its answer was lost: that job is this step.
            return self.client.get_job(job_id, location=location, retry=self._retry, timeout=REQUEST_SECONDS)
