"""Ends the runs whose object and pods are gone, and of which only the target can tell whether they had published.

The operator leaves them undecided (`pipeline_operator.settling`), since this process is the one that has BigQuery. The
marker of a publish stands in the same transaction as its rows, so its absence is an answer too: no pod of the run is
left that could still publish.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Protocol

import structlog
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from requests.exceptions import RequestException

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun

_log = structlog.get_logger(__name__)

# After this a target that can't be asked (a right that is missing, a dataset in another place) is no reason to wait on.
_ASKED_FOR = timedelta(days=1)
_COMPLETED = "Completed; the PipelineRun was deleted before its status was written"
_CANCELLED = "Cancelled: the PipelineRun was deleted"
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
                    await self._end(run, Phase.CANCELLED, _UNKNOWN, None)
            return
        for run in runs:
            rows = published.get(run.run_id)
            # crash here: the others are found undecided again
            if rows is None:
                await self._end(run, Phase.CANCELLED, _CANCELLED, None)
            else:
                await self._end(run, Phase.COMPLETED, _COMPLETED, rows)

    async def _end(self, run: StoredRun, phase: Phase, message: str, records: int | None) -> None:
        completed = phase is Phase.COMPLETED
        await self._records.finish(
            run.run_id,
            phase=phase,
            at=run.undecided_since or self._now(),
            records_processed=records,
            error_message=None if completed else message,
            message=message,
            reason=Reason.COMPLETED if completed else Reason.CANCELLED,
            object_uid=run.object_uid,
        )
        _log.info("run ended", run_id=run.run_id, org=run.org_slug, phase=phase.value, message=message)
