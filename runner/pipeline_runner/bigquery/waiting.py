"""Waits for BigQuery's jobs without blocking: looks now and then at loads, and asks for the rows of queries."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from google.api_core.exceptions import GoogleAPIError
from google.api_core.retry import Retry

from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.tables import BRIEF_RETRY, REQUEST_SECONDS
from pipeline_runner.bigquery.threads import in_thread

_POLL_SECONDS = (0.05, 2.0)
# The answer that a query is over brings its first rows, up to so many; further pages are asked for.
_PAGE_ROWS = 10_000

Row = Mapping[str, Any]


async def finished(job: bigquery.job._AsyncJob, retry: Retry) -> None:
    """Wait for a job that has no rows. Whether it has failed stands in its `error_result`."""
    wait, longest = _POLL_SECONDS
    while job.state != "DONE":
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, longest)
        await in_thread(partial(job.reload, retry=retry, timeout=REQUEST_SECONDS))


async def answered(job: bigquery.QueryJob, retry: Retry, *, wants_rows: bool = True) -> list[Row]:
    """Wait for a query, and get its rows; none where nobody wants them, or where it has failed (`error_result`).

    Who asks BigQuery for a query's rows gets no answer until they are there, or for some ten seconds: nothing is lost
    by asking at the wrong moment. https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults
    """
    wait, longest = _POLL_SECONDS
    while job.state != "DONE":
        try:
            return await in_thread(partial(_rows, job, BRIEF_RETRY))
        except (GoogleAPIError, OSError):
            # It has failed, or it takes longer, or the request was lost: the job itself says which. The answer to the
            # request can't tell a job that failed for a passing reason from a request that did.
            await asyncio.sleep(wait)
            wait = min(wait * 1.5, longest)
            await in_thread(partial(job.reload, retry=retry, timeout=REQUEST_SECONDS))
    if job.error_result or not wants_rows:
        return []
    return await in_thread(partial(_rows, job, retry))


def _rows(job: bigquery.QueryJob, retry: Retry) -> list[Row]:
    found = job.result(page_size=_PAGE_ROWS, retry=retry, timeout=REQUEST_SECONDS, job_retry=None)
    return [dict(row) for row in found]
