"""Ends the runs whose object and pods are gone, and of which only the target can tell whether they had published.

The operator leaves them undecided (`pipeline_operator.settling`), since this process is the one that has BigQuery. The
marker of a publish stands in the same transaction as its rows, so its absence is an answer too: no pod of the run is
left that could still publish.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Protocol

import structlog
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from requests.exceptions import RequestException

from pipeline_core.lifecycle.actions import Finish
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun
from pipeline_operator.final_records import end_of_deleted, end_record

_log = structlog.get_logger(__name__)

# After this a target that can't be asked (a right that is missing, a dataset in another place) is no reason to wait on.
_ASKED_FOR = timedelta(days=1)
_UNKNOWN = "Cancelled: the PipelineRun was deleted; its target can't be asked whether it had published before"


class Markers(Protocol):
    """Where publishing runs leave their mark; see pipeline_core.store.bigquery.commits."""

    async def published(self, org_slug: str, run_ids: Sequence[str], since: datetime) -> dict[str, int]:
        """The rows that each run has published."""


class Verdicts:
    """Looks for undecided runs every `poll_seconds`; any number of processes may do so at once."""

    def __init__(self, records: RunRecords, markers: Markers, now: Callable[[], datetime], poll_seconds: float) -> None:
        self._records = records
        self._markers = markers
        self._now = now
        self._poll_seconds = poll_seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Decide until told to stop."""
        while not stop.is_set():
            try:
                await self.decide_once()
            except StoreUnavailableError as error:
                _log.warning("undecided runs wait for PostgreSQL", error=str(error))
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._poll_seconds)

    async def decide_once(self) -> None:
        """End what can be ended now. Raises StoreUnavailableError."""
        undecided = sorted(await self._records.undecided(), key=attrgetter("org_slug"))
        for org_slug, runs in groupby(undecided, key=attrgetter("org_slug")):
            await self._decide(org_slug, list(runs))

    async def _decide(self, org_slug: str, runs: list[StoredRun]) -> None:
        since = min(run.created_at for run in runs)
        try:
            published = await self._markers.published(org_slug, [run.run_id for run in runs], since)
        except (GoogleAPICallError, GoogleAuthError, RequestException) as error:
            _log.warning("target can't be asked", org=org_slug, runs=len(runs), error=str(error))
            for run in runs:
                if run.undecided_since is not None and self._now() > run.undecided_since + _ASKED_FOR:
                    await self._end(run, replace(end_of_deleted(completed=False), message=_UNKNOWN))
            return
        for run in runs:
            rows = published.get(run.run_id)
            # crash here: the others are found undecided again
            await self._end(run, end_of_deleted(completed=rows is not None, records=rows))

    async def _end(self, run: StoredRun, finish: Finish) -> None:
        await end_record(self._records, run.run_id, run.object_uid, finish, run.undecided_since or self._now())
        _log.info("run ended", run_id=run.run_id, org=run.org_slug, phase=finish.phase.value, message=finish.message)
