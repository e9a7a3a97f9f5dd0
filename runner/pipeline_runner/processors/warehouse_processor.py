"""The base of processors that fill tables of the organization's dataset: the run's warehouse, days, and end."""

import uuid
from abc import ABC
from collections.abc import Collection
from datetime import date
from typing import Any, Protocol

import structlog

from pipeline_core.catalog.models import MAX_CATCH_UP_DAYS
from pipeline_core.dates import END_DATE, START_DATE
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ProcessorError
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult
from pipeline_runner.settings import PodSettings, QueryLimits, bigquery_settings

_log = structlog.get_logger(__name__)


class Droppable(Protocol):
    """Staging tables."""

    async def drop(self) -> None:
        """Drop what was made."""


class WarehouseProcessor(BaseProcessor, ABC):
    """Validated, it has `warehouse` (BigQuery as this attempt sees it) and `window` (the days to fill).

    `days_named` says whether the caller chose the days. Where not, `source.rescan_days` of the config did, and
    `catch_up` adds those that were missed. What is put into `details` is told in the run's log.
    """

    _staging: Droppable | None = None

    def __init__(self, config: dict[str, Any], org_slug: str, run_id: str) -> None:
        super().__init__(config, org_slug, run_id)
        self.details: dict[str, object] = {}
        self._missed = ""

    async def execute(self, parameters: dict[str, Any]) -> ProcessorResult:
        try:
            return await super().execute(parameters)
        except ProcessorError as error:
            if self._missed:
                hint = f"days {self._missed} had been missed and are caught up; source.catch_up_days: 0 leaves them"
                error.args = (f"{error} ({hint})",)
            raise

    async def validate(self, parameters: dict[str, Any]) -> None:
        source = self.config.get("source") or {}
        # The resolver takes rescan_days out of the config where the caller names days.
        rescan_days, catch_up_days = source.get("rescan_days"), source.get("catch_up_days")
        self.days_named = rescan_days is None or not parameters.keys().isdisjoint({START_DATE, END_DATE})
        self._rescan_days = rescan_days or 1
        self._catch_up_days = MAX_CATCH_UP_DAYS if catch_up_days is None else catch_up_days
        self.window = Window.from_parameters(parameters, self._rescan_days)
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

    def catch_up(self, published: Collection[date]) -> None:
        """Widen the window by the days before it that were missed; `published` are all days that weren't.

        The provider's corrections of the last days before a gap fell into it as well: those days are read again.
        """
        if not self.catches_up:
            return
        window = self.window.reaching_back(published, self._catch_up_days, self._rescan_days)
        missed = [day for day in window.days() if day < self.window.first and day not in published]
        if missed:
            self._missed = ", ".join(map(str, Window.ranges(missed)))
            _log.warning("days had been missed and are caught up", missed=self._missed, window=str(window))
            self.details["caught_up"] = self._missed
            self.window = window

    async def close(self) -> None:
        if self._staging is not None:
            await self.warehouse.stop()
            await self._staging.drop()
