"""Ends the runs whose object and pods are gone, and of which only the target can tell whether they had published.

The operator leaves them undecided (`pipeline_operator.settling`), since this process is the one that has BigQuery. The
marker of a publish stands in the same transaction as its rows, so its absence is an answer too: no pod of the run is
left that could still publish.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Protocol

import structlog
from google.api_core.exceptions import GoogleAPIError
from google.auth.exceptions import GoogleAuthError
from prometheus_client import CollectorRegistry
from requests.exceptions import RequestException

from pipeline_core.lifecycle.actions import Finish
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.final_records import end_of_deleted, end_record

_log = structlog.get_logger(__name__)

# After this a target that can't be asked (a right that is missing, a dataset in another place) is no reason to wait on.
_ASKED_FOR = timedelta(days=1)
_UNKNOWN = "Cancelled: the PipelineRun was deleted; its target can't be asked whether it had published before"
_OF_SERVICES = GoogleAPIError | GoogleAuthError | RequestException | TimeoutError
_PAGE = 100
_LONGEST_BACKOFF = timedelta(seconds=60)
# One target is asked for at most a few minutes (pipeline_core.store.bigquery.commits).
_STUCK_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An organization whose target couldn't be asked: how many runs wait, for how long, and until when."""

    runs: int
    backoff: timedelta
    until: datetime


class Markers(Protocol):
    """Where publishing runs leave their mark; see pipeline_core.store.bigquery.commits."""

    async def published(self, org_slug: str, run_ids: Sequence[str], since: datetime) -> dict[str, int]:
        """The rows that each run has published."""


class Verdicts:
    """Looks for undecided runs every `poll_seconds`; any number of processes may do so at once."""

    def __init__(
        self,
        records: RunRecords,
        markers: Markers,
        now: Callable[[], datetime],
        poll_seconds: float,
        metrics: ExporterMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._markers = markers
        self._now = now
        self._poll_seconds = poll_seconds
        self._metrics = metrics or ExporterMetrics(CollectorRegistry())
        self._clock = clock
        self._moved_at = clock()
        self._waiting: dict[str, _Waiting] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Decide until told to stop; no error ends it, or the export would end with it."""
        while not stop.is_set():
            try:
                await self.decide_once()
            except StoreUnavailableError as error:
                _log.warning("undecided runs wait for PostgreSQL", error=str(error))
            except Exception:
                _log.exception("undecided runs not decided")
            self._moved_at = self._clock()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._poll_seconds)

    def unhealthy(self) -> str | None:
        """Why the process should be restarted: a target has been asked for longer than that can take."""
        idle = self._clock() - self._moved_at
        return f"undecided runs haven't been looked at for {idle:.0f} s" if idle > _STUCK_SECONDS else None

    async def decide_once(self) -> None:
        """End what can be ended now. Raises StoreUnavailableError."""
        # Beside those that wait for their target: however many they are, the others have their turn.
        undecided = await self._records.undecided(limit=_PAGE + sum(each.runs for each in self._waiting.values()))
        self._metrics.undecided.set(len(undecided))
        by_org = {org: list(runs) for org, runs in groupby(sorted(undecided, key=_org), key=_org)}
        self._waiting = {
            org: replace(waiting, runs=len(by_org[org])) for org, waiting in self._waiting.items() if org in by_org
        }
        for org_slug, runs in by_org.items():
            waiting = self._waiting.get(org_slug)
            if waiting is None or waiting.until <= self._now():
                await self._decide(org_slug, runs)
                self._moved_at = self._clock()

    async def _decide(self, org_slug: str, runs: list[StoredRun]) -> None:
        since = min(run.created_at for run in runs)
        try:
            published = await self._markers.published(org_slug, [run.run_id for run in runs], since)
        except Exception as error:  # a defect, too: one target mustn't keep the others waiting
            self._metrics.verdict_failures.inc()
            self._wait(org_slug, len(runs))
            defect = not isinstance(error, _OF_SERVICES)
            _log.warning("target can't be asked", org=org_slug, runs=len(runs), error=str(error), exc_info=defect)
            for run in runs:
                if run.undecided_since is not None and self._now() > run.undecided_since + _ASKED_FOR:
                    await self._end(run, replace(end_of_deleted(completed=False), message=_UNKNOWN))
            return
        self._waiting.pop(org_slug, None)
        for run in runs:
            rows = published.get(run.run_id)
            # crash here: the others are found undecided again
            await self._end(run, end_of_deleted(completed=rows is not None, records=rows))

    def _wait(self, org_slug: str, runs: int) -> None:
        """Ask this organization's target again after a while, and later each time."""
        before = self._waiting.get(org_slug)
        backoff = 2 * before.backoff if before else timedelta(seconds=self._poll_seconds)
        backoff = min(backoff, _LONGEST_BACKOFF)
        self._waiting[org_slug] = _Waiting(runs, backoff, self._now() + backoff)

    async def _end(self, run: StoredRun, finish: Finish) -> None:
        await end_record(
            self._records, run.run_id, run.object_uid, finish, run.undecided_since or self._now(), frees=True
        )
        _log.info("run ended", run_id=run.run_id, org=run.org_slug, phase=finish.phase.value, message=finish.message)


_org = attrgetter("org_slug")
