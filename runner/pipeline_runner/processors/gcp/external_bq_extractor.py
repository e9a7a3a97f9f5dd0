"""Copies days of a BigQuery table, such as Google Cloud's billing export, into the organization's dataset."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from pipeline_core.dates import END_DATE, START_DATE
from pipeline_runner.bigquery import service_account
from pipeline_runner.bigquery.checks import check_columns, violations
from pipeline_runner.bigquery.columns import by_name
from pipeline_runner.bigquery.config import CopyConfig
from pipeline_runner.bigquery.focus_view import ensure_focus_view
from pipeline_runner.bigquery.manifest import Manifest
from pipeline_runner.bigquery.planning import Plan, describe, make_plan
from pipeline_runner.bigquery.publishing import Publication, Publisher
from pipeline_runner.bigquery.rescan import Rescan, rescan
from pipeline_runner.bigquery.source import Source
from pipeline_runner.bigquery.staging import Counted, Staging, now
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import DataError
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult
from pipeline_runner.progress import Stage
from pipeline_runner.settings import PodSettings, QueryLimits, bigquery_settings

_log = structlog.get_logger(__name__)

_TIME_COLUMN = "usage_start_time"
_CLUSTER_BY = frozenset({"billing_account_id"})
# Columns by which a Cloud Billing export is known, and how long before the day of their usage its rows may be written.
_BILLING_EXPORT = frozenset({"billing_account_id", "usage_start_time", "export_time"})
_INGESTION_SLACK = timedelta(days=10)


@dataclass(frozen=True)
class Staged:
    """What there is to publish: rows that stand in the staging table, checked.

    `counted` is None where there is nothing: this run has published before, or no day has changed.
    """

    plan: Plan
    counted: Counted | None
    published_before: int = 0
    unchanged: int = 0


class ExternalBQExtractor(BaseProcessor):
    """Stage, check, publish: the target's days are replaced whole, in one transaction, or stay as they were.

    Parameters: `date`, or `start_date` and `end_date`. Running a day again gives the same rows; an empty day empties.
    With `source.rescan_days` the days before `date` are looked at as well, and only those that have changed since they
    were copied are copied again. Where the organization's credentials hold the key of a service account, it reads.
    """

    def __init__(self, config: dict[str, Any], org_slug: str, run_id: str) -> None:
        super().__init__(config, org_slug, run_id)
        self._settings = CopyConfig.read(config)
        self._staging: Staging | None = None
        self._reader: Warehouse | None = None

    async def validate(self, parameters: dict[str, Any]) -> None:
        days = self._settings.source.rescan_days or 1
        self.window = Window.from_parameters(parameters, days)
        # Days that are named by a range are copied whatever is known of them.
        self._rescans = days > 1 and not parameters.keys() & {START_DATE, END_DATE}
        settings = bigquery_settings()
        attempt = (PodSettings().uid or uuid.uuid4().hex).replace("-", "")
        identity, limits = Identity(self.org_slug, self.run_id, attempt), QueryLimits().model_dump()
        self.warehouse = Warehouse(settings, identity, **limits)
        if key := self.credentials and self.credentials.optional(service_account.FIELD):
            self._reader = service_account.ServiceAccount.read(key).warehouse(settings, identity, **limits)
        self._dataset = f"{settings.project}.{self._settings.target.dataset}"
        self._suffix = f"{self.run_id}_{attempt}"

    async def preview(self, parameters: dict[str, Any]) -> dict[str, str]:
        await self.validate(parameters)
        plan = await self._plan()
        if not self._rescans:
            return await describe(self.warehouse, plan, self._reader)
        found = await rescan(self.warehouse, plan, self.window, self._reader)
        unchanged = {"unchanged": f"{found.unchanged} of the days {self.window}, which stay as they are"}
        return (
            await describe(self.warehouse, plan.only(found.days), self._reader) | unchanged if found.days else unchanged
        )

    async def extract(self, parameters: dict[str, Any]) -> Staged:
        self.progress.report(Stage.EXTRACT, 0.0)
        plan = await self._plan()
        check_columns(self._settings.checks, plan.copy.wanted)
        before, found = await together(
            Publisher(self.warehouse, [plan.target], self.run_id).committed_rows("marker_before"), self._look(plan)
        )
        if before is not None:
            _log.info("this run has published before", rows=before)
            return Staged(plan, None, before)
        if not found.days:
            return Staged(plan, None, unchanged=found.unchanged)
        plan = plan.only(found.days)
        _log.info(
            "extracting",
            source=plan.source.name,
            by_query=plan.by_query,
            days=_told(plan),
            unchanged_days=found.unchanged,
        )
        return Staged(plan, await self._staged(plan, found.read_at), unchanged=found.unchanged)

    async def transform(self, data: Staged) -> Staged:
        # The rows were converted where they lie, on their way into the staging table.
        if data.counted is not None and self._staging is not None:
            location = data.plan.copy.location
            found = await violations(
                self.warehouse, "checks", self._staging.table, self._settings.checks, location=location
            )
            if found:
                raise DataError(f"nothing was published, as the rows don't pass their checks: {'; '.join(found)}")
        self.progress.report(Stage.TRANSFORM, 1.0, data.counted.rows if data.counted else data.published_before)
        return data

    async def load(self, data: Staged) -> ProcessorResult:
        plan, rows = data.plan, data.published_before
        if data.counted is not None and self._staging is not None:
            rows = await self._published(plan, data.counted, self._staging.table)
        # crash here: the next attempt has published before, and makes the view
        if data.counted is not None or data.published_before:
            await ensure_focus_view(self.warehouse, self._dataset, plan.copy.location)
        self.progress.report(Stage.LOAD, 1.0, rows)
        details: dict[str, object] = {"target": plan.target.name, "window": str(self.window)}
        if self._rescans:
            details |= {"unchanged_days": data.unchanged, "copied_days": _told(plan) if data.counted else ""}
        return ProcessorResult(rows, details)

    async def close(self) -> None:
        if self._staging is not None:
            await self.warehouse.stop()
            await self._staging.drop()

    async def _look(self, plan: Plan) -> Rescan:
        """Which days to copy, and as of when."""
        if self._rescans:
            return await rescan(self.warehouse, plan, self.window, self._reader)
        return Rescan(await now(self.warehouse, plan.copy.location), tuple(self.window.days()), 0)

    async def _staged(self, plan: Plan, read_at: datetime) -> Counted:
        self._staging = Staging(self.warehouse, self._dataset, self._suffix, self._reader)
        if plan.by_query:
            return await self._staging.by_query(plan.copy, read_at)
        return await self._staging.by_storage(
            plan.copy, read_at, lambda rows: self.progress.report(Stage.EXTRACT, rows / (rows + 1_000_000), rows)
        )

    async def _published(self, plan: Plan, counted: Counted, staging: str) -> int:
        publisher = Publisher(self.warehouse, [plan.target], self.run_id)
        manifest = Manifest(self.warehouse, plan.target, plan.copy)
        await publisher.prepare([(plan.target, plan.existing, plan.copy.columns)])
        await manifest.prepare()
        self.progress.report(Stage.LOAD, 0.2, counted.rows)
        return await publisher.commit(
            [
                Publication(
                    plan.target,
                    staging,
                    plan.published,
                    plan.windows,
                    rows=counted.rows,
                    read_at=counted.read_at,
                    also=manifest.statements(plan.windows, counted.days, self.run_id, counted.read_at),
                )
            ]
        )

    async def _plan(self) -> Plan:
        return await make_plan(
            self.warehouse,
            self._settings,
            self.window,
            time_column=_TIME_COLUMN,
            cluster_by=_CLUSTER_BY,
            narrowed=_ingested_since,
            reader=self._reader,
        )


def _told(plan: Plan) -> str:
    return ", ".join(map(str, plan.windows))


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
