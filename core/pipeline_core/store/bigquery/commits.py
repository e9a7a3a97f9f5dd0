"""Reads the markers that runs leave in their organization's dataset when they publish."""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from pipeline_core import identifiers
from pipeline_core.store.bigquery.client import BOUNDED_RETRY, REQUEST_SECONDS

_JOB_SECONDS = 30


class CommitMarkers:
    """The markers of all organizations of one installation; `env` is the installation's."""

    def __init__(self, client: bigquery.Client, env: str) -> None:
        self._client = client
        self._env = env

    async def published(self, org_slug: str, run_ids: Sequence[str], since: datetime) -> dict[str, int]:
        """How many rows each of the organization's runs has published; a run that hasn't is left out.

        `since` is when the first of them was created. Raises GoogleAPIError, google.auth's errors or TimeoutError, when
        BigQuery refuses or is away.
        """
        return await asyncio.to_thread(self._query, org_slug, run_ids, since)

    def _query(self, org_slug: str, run_ids: Sequence[str], since: datetime) -> dict[str, int]:
        dataset = identifiers.dataset_name(org_slug, self._env)
        table = f"{self._client.project}.{dataset}.{identifiers.COMMITS_TABLE}"
        statement = (
            f"SELECT run_id, SUM(row_count) AS published FROM `{table}` "  # noqa: S608 - names of our own making
            "WHERE run_id IN UNNEST(@run_ids) AND committed_at >= @since GROUP BY run_id"
        )
        parameters = [
            bigquery.ArrayQueryParameter("run_ids", "STRING", list(run_ids)),
            bigquery.ScalarQueryParameter("since", "TIMESTAMP", since),
        ]
        config = bigquery.QueryJobConfig(query_parameters=parameters, job_timeout_ms=_JOB_SECONDS * 1000)
        try:
            job = self._client.query(
                statement, job_config=config, job_retry=None, retry=BOUNDED_RETRY, timeout=REQUEST_SECONDS
            )
            rows = job.result(retry=BOUNDED_RETRY, job_retry=None, timeout=_JOB_SECONDS)
            return {row["run_id"]: row["published"] for row in rows}
        except NotFound:
            return {}  # nothing has ever been published there
