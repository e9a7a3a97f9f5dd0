"""Copies days of a BigQuery table, such as Google Cloud's billing export, into the organization's dataset."""

import asyncio
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from pipeline_runner.bigquery.columns import by_name
from pipeline_runner.bigquery.config import CopyConfig
from pipeline_runner.bigquery.planning import Plan, describe, make_plan
from pipeline_runner.bigquery.publishing import Publisher
from pipeline_runner.bigquery.source import Source
from pipeline_runner.bigquery.staging import Counted, Staging
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.bigquery.window import Window
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult
from pipeline_runner.progress import Stage
from pipeline_runner.settings import PodSettings, QueryLimits, bigquery_settings

_log = structlog.get_logger(__name__)

_TIME_COLUMN = "usage_start_time"
_CLUSTER_BY = frozenset({"billing_account_id"})
# Columns by which a Cloud Billing export is known, and how long before the day of their usage its rows may be written.
_BILLING_EXPORT = frozenset({"billing_account_id", "usage_start_time", "export_time"})
_INGESTION_SLACK = timedelta(days=10)
# A transaction on its way is let finish within this time when the run is told to stop.
_PUBLISH_SECONDS = 3.0


@dataclass(frozen=True)
class Staged:
    """Rows that stand in the staging table, checked; `counted` is None where this run has published before."""

    plan: Plan
    counted: Counted | None
    published_before: int = 0


class ExternalBQExtractor(BaseProcessor):
    """Stage, check, publish: the target's days are replaced whole, in one transaction, or stay as they were.

    Parameters: `date`, or `start_date` and `end_date`. Running a day again gives the same rows; an empty day empties.
    """

    def __init__(self, config: dict[str, Any], org_slug: str, run_id: str) -> None:
        super().__init__(config, org_slug, run_id)
        self._settings = CopyConfig.read(config)
        self._staging: Staging | None = None

    async def validate(self, parameters: dict[str, Any]) -> None:
        self.window = Window.from_parameters(parameters)
        settings = bigquery_settings()
        attempt = (PodSettings().uid or uuid.uuid4().hex).replace("-", "")
        identity = Identity(self.org_slug, self.run_id, attempt)
        self.warehouse = Warehouse(settings, identity, **QueryLimits().model_dump())
        self._dataset = f"{settings.project}.{self._settings.target.dataset}"
        self._suffix = f"{self.run_id}_{attempt}"

    async def preview(self, parameters: dict[str, Any]) -> dict[str, str]:
        await self.validate(parameters)
        return await describe(self.warehouse, await self._plan(), self.window)

    async def extract(self, parameters: dict[str, Any]) -> Staged:
        self.progress.report(Stage.EXTRACT, 0.0)
        plan = await self._plan()
        before = await Publisher(self.warehouse, plan.target, self.run_id).committed_rows("marker_before")
        if before is not None:
            _log.info("this run has published before", rows=before)
            return Staged(plan, None, before)
        self._staging = Staging(self.warehouse, self._dataset, self._suffix)
        _log.info("extracting", source=plan.source.name, window=str(self.window), by_query=plan.by_query)
        if plan.by_query:
            counted = await self._staging.by_query(plan.copy)
        else:
            counted = await self._staging.by_storage(
                plan.copy, lambda rows: self.progress.report(Stage.EXTRACT, rows / (rows + 1_000_000), rows)
            )
        return Staged(plan, counted)

    async def transform(self, data: Staged) -> Staged:
        # The rows were converted where they lie, on their way into the staging table.
        self.progress.report(Stage.TRANSFORM, 1.0, data.counted.rows if data.counted else data.published_before)
        return data

    async def load(self, data: Staged) -> ProcessorResult:
        plan, rows = data.plan, data.published_before
        if data.counted is not None and self._staging is not None:
            rows = await self._published(plan, data.counted, self._staging.table)
        self.progress.report(Stage.LOAD, 1.0, rows)
        return ProcessorResult(rows, {"target": plan.target.name, "window": str(self.window)})

    async def close(self) -> None:
        if self._staging is not None:
            await self.warehouse.stop()
            await self._staging.drop()

    async def _published(self, plan: Plan, counted: Counted, staging: str) -> int:
        """Publish; if the run is stopped meanwhile, what was committed decides how it ends. The rows committed."""
        publisher = Publisher(self.warehouse, plan.target, self.run_id)
        await publisher.prepare(plan.existing, plan.copy.columns)
        self.progress.report(Stage.LOAD, 0.2, counted.rows)

        async def publish() -> int | None:
            await publisher.publish(staging, plan.published, self.window, counted.rows, counted.read_at)
            # crash here: the marker is committed, so the next attempt finds it and publishes nothing
            return await publisher.committed_rows("marker_after")

        publishing = asyncio.ensure_future(publish())
        try:
            rows = await asyncio.shield(publishing)
        except asyncio.CancelledError:
            await asyncio.wait({publishing}, timeout=_PUBLISH_SECONDS)
            if publishing.done() and publishing.exception() is None:
                rows = publishing.result()
            else:
                publishing.cancel()
                await self.warehouse.stop()
                rows = await publisher.committed_rows("marker_stopped")
            if rows is None:
                raise
        if rows is None:
            raise RuntimeError(f"the transaction on {self._dataset} ended without an error and without its marker")
        return rows

    async def _plan(self) -> Plan:
        return await make_plan(
            self.warehouse,
            self._settings,
            self.window,
            time_column=_TIME_COLUMN,
            cluster_by=_CLUSTER_BY,
            narrowed=_ingested_since,
        )


def _ingested_since(source: Source, window: Window) -> str:
    """For a billing export: leaves out partitions that can't hold the window's rows.

    The export is partitioned by the day that Google wrote a row, which comes after its usage: without this every run
    would scan the whole export. It is assumed that no row is written more than ten days before the day that its
    `usage_start_time` names; the slack is for charges that are dated ahead. Rows that come late are always found, and
    those that were written just now have no partition yet.
    """
    if (
        not source.by_ingestion
        or source.time.name != _TIME_COLUMN
        or not by_name(source.columns).keys() >= _BILLING_EXPORT
    ):
        return ""
    since = Window.literal(window.first - _INGESTION_SLACK, "TIMESTAMP")
    return f"(_PARTITIONTIME >= {since} OR _PARTITIONTIME IS NULL)"
