"""The exporter's loop: take a turn for each table, send what is due, mark it; back off from what doesn't work."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from google.api_core.exceptions import NotFound

from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.export_turn import ExportTurn
from pipeline_core.store.outbox import TURN_SECONDS, Outbox
from pipeline_operator.exporter.attempts import LONGEST_BACKOFF, Attempts
from pipeline_operator.exporter.batch import send, within_size
from pipeline_operator.exporter.lanes import Lane, Row, RunsLane, SchedulesLane, Target
from pipeline_operator.exporter.metrics import ExporterMetrics
from pipeline_operator.exporter.settings import ExporterSettings

# A turn for each of the two tables.
_STUCK_SECONDS = 2 * TURN_SECONDS + 2 * LONGEST_BACKOFF
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
        self._moved_at = clock()
        self._passes = Attempts(settings.export_poll, metrics, clock)
        self._passes.trouble = "no pass has ended yet"
        lanes: tuple[Lane[Any], ...] = (RunsLane(target), SchedulesLane(target))
        # Each table's failures are its own: they slow down no other one's export.
        self._lanes = {lane: Attempts(settings.export_poll, metrics, clock, lane.table) for lane in lanes}
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
        """What kept the last pass, or the last attempt at a table, from its work."""
        troubles = (attempts.trouble for attempts in (self._passes, *self._lanes.values()))
        return "; ".join(filter(None, troubles)) or None

    async def export_once(self) -> bool:
        """One pass over the tables whose time has come; returns whether more may be due at once.

        What fails at one table is told by `unready`, and that one is left out for a while. Raises StoreUnavailableError
        when PostgreSQL is away: nothing is lost then.
        """
        more = False
        # Before anything can hang or fail: the metric has to tell of exactly that time.
        lag = await self._outbox.lag_seconds()
        self._metrics.observe_lag(lag)
        for lane, attempts in self._lanes.items():
            if attempts.are_due():
                more |= await self._attempt(lane, attempts)
        if lag:
            self._metrics.observe_lag(await self._outbox.lag_seconds())
        if self._clock() >= self._prune_at:
            await self._prune()
        return more

    async def _attempt(self, lane: Lane[Row], attempts: Attempts) -> bool:
        """One turn for a table; returns whether more may be due at once. Raises StoreUnavailableError only."""
        try:
            async with self._outbox.turn() as turn:
                self._metrics.active.set(turn is not None)
                if turn is None:
                    return False
                more = await self._take_turn(turn, lane)
        except StoreUnavailableError:
            raise
        except Exception as error:  # one table that fails doesn't keep the other waiting
            if isinstance(error, NotFound):
                lane.is_ready = False  # somebody dropped the table: make it again
            attempts.failed(error)
            return False
        attempts.worked()
        return more

    async def _take_turn(self, turn: ExportTurn, lane: Lane[Row]) -> bool:
        if not lane.is_ready:
            await lane.make_ready(self._outbox)
        if job_id := await turn.announced_job():
            await asyncio.to_thread(self._target.settle, job_id)
            await turn.note_settled()
        self._refused = {row_id: until for row_id, until in self._refused.items() if until > self._clock()}
        limit = self._settings.export_batch_rows
        due = await lane.due(turn, limit, interval=self._settings.live_state_delay, without=self._refused.keys())
        if due:
            await self._export(turn, lane, within_size(lane, due))
        self._metrics.refused.set(len(self._refused))
        return len(due) == limit

    async def _export(self, turn: ExportTurn, lane: Lane[Row], rows: Sequence[Row]) -> None:
        with self._metrics.batch_seconds.time():
            sent = await send(turn, lane, rows)
        await lane.mark(turn, sent.merged)
        # crash here, before the turn's commit: the rows stay in the outbox and are merged again
        if sent.refused is not None:
            row_id = lane.id_of(sent.refused)
            self._refused[row_id] = self._clock() + _REFUSED_SECONDS
            self._metrics.failures.labels("refused").inc()
            log.error("row refused by BigQuery, set aside", id=row_id, reason=sent.reason)
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
            return self._passes.failed(error)
        self._passes.worked()
        if self.unready() is None:
            self._metrics.succeeded.set_to_current_time()
        return 0.0 if more else self._settings.export_poll

    async def _prune(self) -> None:
        """Delete what is past its retention: a bounded batch, the next one soon if there may be more."""
        pruned = await self._outbox.prune(datetime.now(UTC) - self._settings.record_retention, limit=_PRUNE_ROWS)
        if pruned < _PRUNE_ROWS:
            self._prune_at = self._clock() + _PRUNE_EVERY_SECONDS
        if pruned:
            self._metrics.pruned.inc(pruned)
            log.info("old records deleted", records=pruned)
