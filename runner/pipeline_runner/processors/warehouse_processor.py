"""The base of processors that fill tables of the organization's dataset: the run's warehouse, days, and end."""

import asyncio
import uuid
from abc import ABC
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import structlog

from pipeline_core.catalog.days import MAX_CATCH_UP_DAYS
from pipeline_core.dates import END_DATE, START_DATE
from pipeline_runner.bigquery.due_days import DueDays, LastRead, due_days, is_settled
from pipeline_runner.bigquery.focus_view import ensure_focus_view
from pipeline_runner.bigquery.publishing import Publication, Publisher
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.bigquery.window import Window, listed_days
from pipeline_runner.errors import ProcessorError
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult
from pipeline_runner.settings import PodSettings, QueryLimits, bigquery_settings

_log = structlog.get_logger(__name__)


class Droppable(Protocol):
    """Staging tables."""

    async def drop(self) -> None:
        """Drop what was made."""


class WarehouseProcessor(BaseProcessor, ABC):
    """Validated, it has `warehouse` (BigQuery as this attempt sees it), `window` (the run's own days) and `due`.

    `days_named` says whether the caller chose the days. Where not, `source.rescan_days` of the config did, and
    `catch_up` adds to `due` what a pause left out, and what was read too early. What is put into `details` is told in
    the run's log.
    """

    window: Window
    _staging: Droppable | None = None

    def __init__(self, config: dict[str, Any], org_slug: str, run_id: str) -> None:
        super().__init__(config, org_slug, run_id)
        self.details: dict[str, object] = {}
        self.due = DueDays(())

    async def execute(self, parameters: dict[str, Any]) -> ProcessorResult:
        try:
            return await super().execute(parameters)
        except ProcessorError as error:
            if reason := self.due.reason:
                error.args = (f"{error} (days {reason}; source.catch_up_days: 0 leaves them)",)
            raise

    async def validate(self, parameters: dict[str, Any]) -> None:
        source = self.config.get("source") or {}
        # The resolver takes rescan_days out of the config where the caller names days.
        rescan_days, catch_up_days = source.get("rescan_days"), source.get("catch_up_days")
        self.days_named = rescan_days is None or not parameters.keys().isdisjoint({START_DATE, END_DATE})
        self.rescan_days = rescan_days or 1
        self._catch_up_days = MAX_CATCH_UP_DAYS if catch_up_days is None else catch_up_days
        self.window = Window.from_parameters(parameters, self.rescan_days)
        self.due = DueDays((self.window,))
        self._bigquery = bigquery_settings()
        attempt = (PodSettings().uid or uuid.uuid4().hex).replace("-", "")
        self._identity = Identity(self.org_slug, self.run_id, attempt)
        self._limits = QueryLimits().model_dump()
        self.warehouse = Warehouse(self._bigquery, self._identity, **self._limits)
        self._dataset = f"{self._bigquery.project}.{self.config['target']['dataset']}"
        self._suffix = f"{self.run_id}_{attempt}"

    @property
    def catches_up(self) -> bool:
        """Whether days before the window are looked for at all."""
        return not self.days_named and self.window.back_to(self._catch_up_days) != self.window

    def catch_up(self, last_read: LastRead) -> None:
        """Set the days that the run reads; `last_read` has all days that were published, as far as is looked for."""
        if not self.catches_up:
            return
        self.due = due_days(self.window, last_read, catch_up_days=self._catch_up_days, rescan_days=self.rescan_days)
        told = {"caught_up": self.due.missed, "read_again": self.due.again, "left_to_later_runs": self.due.left}
        further = {name: listed_days(days) for name, days in told.items() if days}
        if further:
            # Days that were only read too early are no news where a run by hand, or one of today, came first.
            tell = _log.warning if self.due.missed else _log.info
            tell("days before the run's own are read", windows=str(self.due), **further)
            self.details |= further

    def moving(self, read_at: datetime, windows: Sequence[Window]) -> tuple[Window, ...]:
        """Those of the days whose figures may have changed while they were read, from `read_at` on."""
        days = (day for window in windows for day in window.days())
        return Window.ranges(day for day in days if not is_settled(day, read_at, self.rescan_days))

    async def commit(self, publisher: Publisher, publications: Sequence[Publication]) -> int:
        """Publish, and see to the cost view meanwhile; the rows that are published.

        The view is over tables, which are there by now, whether or not they have the run's rows.
        """
        # A task of its own: where the run is told to stop, the transaction alone decides how it ends.
        view = asyncio.ensure_future(self.see_to_view(publications[0].target.location))
        try:
            rows = await publisher.commit(publications)
        except BaseException:
            view.cancel()
            await asyncio.wait({view})
            raise
        # crash here: the next attempt has published before, and sees to the view alone
        if (current := asyncio.current_task()) is not None and current.cancelling():
            # Told to stop, and published all the same. The view may take longer than is left: the next run sees to it.
            view.cancel()
            await asyncio.wait({view})
        else:
            await view
        return rows

    async def see_to_view(self, location: str) -> None:
        """Keep the organization's cost view up to date; what goes wrong with it is only told."""
        await ensure_focus_view(self.warehouse, self._dataset, location)

    async def close(self) -> None:
        if self._staging is not None:
            await self.warehouse.stop()
            await self._staging.drop()
