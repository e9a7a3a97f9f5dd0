"""The exporter's loop: take a turn, send what is due, mark it; back off while a service is away."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.exceptions import GoogleAuthError
from requests.exceptions import RequestException

from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.outbox import TURN_SECONDS, ExportTurn, Outbox
from pipeline_core.store.runs import StoredRun
from pipeline_operator.exporter.batch import Target, send, within_size
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.exporter.settings import ExporterSettings

_LONGEST_BACKOFF = 60.0
_STUCK_SECONDS = TURN_SECONDS + 2 * _LONGEST_BACKOFF
_REFUSED_SECONDS = 600.0
_PRUNE_EVERY_SECONDS = 600.0
_PRUNE_ROWS = 1000

log = structlog.get_logger(__name__)


class Exporter:
    """Exports until told to stop. Any number may run on one database; one at a time has the turn."""

    def __init__(
        self,
        outbox: Outbox,
        target: Target,
        settings: ExporterSettings,
        metrics: ExporterMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._target = target
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._target_ready = False
        self._moved_at = clock()
        self._trouble: str | None = "no pass has ended yet"
        self._failures = 0
        self._refused: dict[str, float] = {}
        self._prune_at = clock()

    async def run(self, stop: asyncio.Event) -> None:
        """Pass after pass until `stop` is set; the pass under way then is finished."""
        while not stop.is_set():
            delay = await self._guarded_pass()
            self._moved_at = self._clock()
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), delay)

    def unhealthy(self) -> str | None:
        """Why the process should be restarted: the loop hasn't moved for longer than any pass can take."""
        idle = self._clock() - self._moved_at
        return f"the export loop hasn't moved for {idle:.0f} s" if idle > _STUCK_SECONDS else None

    def unready(self) -> str | None:
        """What kept the last pass from doing its work."""
        return self._trouble

    async def export_once(self) -> bool:
        """One pass; returns whether more may be due at once.

        Raises StoreUnavailableError, or what the target raises, when a service is away: nothing is lost then.
        """
        more = False
        # Before anything can hang or fail: the metric has to tell of exactly that time.
        lag = await self._outbox.lag_seconds()
        self._metrics.observe_lag(lag)
        async with self._outbox.turn() as turn:
            self._metrics.active.set(turn is not None)
            if turn is not None:
                more = await self._take_turn(turn)
        if lag:
            self._metrics.observe_lag(await self._outbox.lag_seconds())
        if self._clock() >= self._prune_at:
            await self._prune()
        return more

    async def _take_turn(self, turn: ExportTurn) -> bool:
        if not self._target_ready:
            await asyncio.to_thread(self._target.ensure)
            self._target_ready = True
        if job_id := await turn.announced_job():
            await asyncio.to_thread(self._target.settle, job_id)
        self._refused = {run_id: until for run_id, until in self._refused.items() if until > self._clock()}
        limit = self._settings.export_batch_rows
        due = await turn.due(limit, interval=self._settings.live_state_delay, without=self._refused.keys())
        if due:
            await self._export(turn, within_size(due))
        self._metrics.refused.set(len(self._refused))
        return len(due) == limit

    async def _export(self, turn: ExportTurn, runs: list[StoredRun]) -> None:
        with self._metrics.batch_seconds.time():
            sent = await send(turn, self._target, runs)
        await turn.mark(sent.merged)
        # crash here, before the turn's commit: the rows stay in the outbox and are merged again
        if sent.refused is not None:
            self._refused[sent.refused.run_id] = self._clock() + _REFUSED_SECONDS
            self._metrics.failures.labels("refused").inc()
            log.error("row refused by BigQuery, set aside", run_id=sent.refused.run_id, reason=sent.reason)
        if sent.merged:
            self._metrics.rows.inc(len(sent.merged))
            self._metrics.batches.inc()
            self._metrics.batch_rows.observe(len(sent.merged))
            log.debug("exported", rows=len(sent.merged))

    async def _guarded_pass(self) -> float:
        """One pass that never raises; returns the seconds until the next."""
        try:
            more = await self.export_once()
        except Exception as error:
            return self._note_failure(error)
        if self._failures:
            log.info("export works again", after=self._trouble)
        self._trouble, self._failures = None, 0
        self._metrics.succeeded.set_to_current_time()
        return 0.0 if more else self._settings.export_poll

    def _note_failure(self, error: Exception) -> float:
        cause = _cause(error)
        if isinstance(error, NotFound):
            self._target_ready = False  # somebody dropped a table: make it again
        trouble = f"{cause}: {error}"
        if trouble != self._trouble:
            log.warning(
                "export failed, will be tried again", cause=cause, exc_info=cause == "internal", error=str(error)
            )
        self._trouble = trouble
        self._failures += 1
        self._metrics.failures.labels(cause).inc()
        longest = min(_LONGEST_BACKOFF, self._settings.export_poll * 2 ** min(self._failures, 10))
        return random.uniform(longest / 2, longest)  # noqa: S311 - jitter

    async def _prune(self) -> None:
        """Delete what is past its retention: a bounded batch, the next one soon if there may be more."""
        pruned = await self._outbox.prune(datetime.now(UTC) - self._settings.record_retention, limit=_PRUNE_ROWS)
        if pruned < _PRUNE_ROWS:
            self._prune_at = self._clock() + _PRUNE_EVERY_SECONDS
        if pruned:
            self._metrics.pruned.inc(pruned)
            log.info("old records deleted", records=pruned)


def _cause(error: Exception) -> str:
    if isinstance(error, StoreUnavailableError):
        return "postgresql"
    if isinstance(error, GoogleAPIError | GoogleAuthError | RequestException | TimeoutError):
        return "bigquery"
    return "internal"
