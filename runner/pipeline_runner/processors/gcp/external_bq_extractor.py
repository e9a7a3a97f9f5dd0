"""Copies days of a BigQuery table, such as Google Cloud's billing export, into the organization's dataset."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from pipeline_runner.bigquery import service_account
from pipeline_runner.bigquery.checks import check_columns, daily_violations
from pipeline_runner.bigquery.config import CopyConfig
from pipeline_runner.bigquery.counted import Counted
from pipeline_runner.bigquery.manifest import Known, Manifest, has_manifest
from pipeline_runner.bigquery.planning import Plan, count_undated, make_plan
from pipeline_runner.bigquery.preview import describe
from pipeline_runner.bigquery.publishing import Publication, Publisher
from pipeline_runner.bigquery.rescan import Rescan, refuse_emptied, rescan
from pipeline_runner.bigquery.staging import Staging, now
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.bigquery.window import listed
from pipeline_runner.errors import DataError, ProcessorError
from pipeline_runner.processors.base import ProcessorResult
from pipeline_runner.processors.gcp import billing_export
from pipeline_runner.processors.warehouse_processor import WarehouseProcessor
from pipeline_runner.progress import Stage

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Staged:
    """What there is to publish: rows that stand in the staging table, checked.

    `counted` is None where there is nothing: this run has published before, and `found` is None too, or no day has
    changed.
    """

    plan: Plan
    found: Rescan | None
    counted: Counted | None = None
    published_before: int = 0
    undated: int = 0


class ExternalBQExtractor(WarehouseProcessor):
    """Stage, check, publish: the target's days are replaced whole, in one transaction, or stay as they were.

    Parameters: `date`, or `start_date` and `end_date`. Running a day again gives the same rows; an empty day empties.
    With `source.rescan_days` the days before `date` are looked at as well, and those that were missed before them; only
    those that have changed since they were copied are copied again. Where the organization's credentials hold the key
    of a service account, it reads.
    """

    _staging: Staging | None = None

    def __init__(self, config: dict[str, Any], org_slug: str, run_id: str) -> None:
        super().__init__(config, org_slug, run_id)
        self._settings = CopyConfig.read(config)
        self._reader: Warehouse | None = None

    async def validate(self, parameters: dict[str, Any]) -> None:
        await super().validate(parameters)
        if key := self.credentials and self.credentials.secret_if_named(service_account.FIELD):
            self._reader = service_account.ServiceAccount.read(key).warehouse(
                self._bigquery, self._identity, **self._limits
            )

    async def preview(self, parameters: dict[str, Any]) -> dict[str, str]:
        await self.validate(parameters)
        plan, with_manifest = await self._plan()
        if self.days_named:
            return await describe(self.warehouse, plan, self._reader)
        plan, found = await self._look(plan, with_manifest=with_manifest)
        await refuse_emptied(self.warehouse, plan, found)
        told = {"unchanged": f"{found.unchanged} of the days {self.due}, which stay as they are"}
        if reason := self.due.reason:
            told["days before"] = reason
        return await describe(self.warehouse, plan.only(found.days), self._reader) | told if found.days else told

    async def extract(self, parameters: dict[str, Any]) -> Staged:
        self.progress.report(Stage.EXTRACT, 0.0)
        plan, with_manifest = await self._plan()
        check_columns(self._settings.checks, plan.copy.wanted)
        before, (plan, found) = await together(
            Publisher(self.warehouse, [plan.target], self.run_id).committed_rows("marker_before"),
            self._look(plan, with_manifest=with_manifest),
        )
        if before is not None:
            _log.info("this run has published before", rows=before)
            return Staged(plan, None, published_before=before)
        await refuse_emptied(self.warehouse, plan, found)
        if not found.days:
            return Staged(plan, found, undated=found.undated)
        plan = plan.only(found.days)
        _log.info(
            "extracting",
            source=plan.source.name,
            by_query=plan.by_query,
            days=listed(plan.windows),
            unchanged_days=found.unchanged,
        )
        counted, undated = await together(self._staged(plan, found.read_at), self._undated(plan, found))
        return Staged(plan, found, counted, undated=undated)

    async def transform(self, data: Staged) -> Staged:
        # The rows were converted where they lie, on their way into the staging table.
        if data.counted is not None and self._staging is not None:
            plan = data.plan
            days = [day for window in plan.windows for day in window.days()]
            found = await daily_violations(
                self.warehouse, "checks", self._staging.table, self._settings.checks, days, plan.source.time,
                location=plan.copy.location,
            )  # fmt: skip
            if found:
                raise DataError(f"nothing was published, as the rows don't pass their checks: {'; '.join(found)}")
        self.progress.report(Stage.TRANSFORM, 1.0, data.counted.rows if data.counted else data.published_before)
        return data

    async def load(self, data: Staged) -> ProcessorResult:
        plan, rows = data.plan, data.published_before
        if data.counted is not None and self._staging is not None:
            rows = await self._published(plan, data.counted, self._staging.table, data.found)
        else:
            await together(self.see_to_view(plan.copy.location), self._note_reading(plan, data.found))
        self.progress.report(Stage.LOAD, 1.0, rows)
        details: dict[str, object] = {"target": plan.target.name, "window": str(self.due), **self.details}
        if not self.days_named:
            unchanged = data.found.unchanged if data.found else 0
            details |= {"unchanged_days": unchanged, "copied_days": listed(plan.windows) if data.counted else ""}
        if data.undated:
            _log.warning("rows of the source have no time, and so belong to no day", rows=data.undated)
            details["undated_rows"] = data.undated
        return ProcessorResult(rows, details)

    async def _look(self, plan: Plan, *, with_manifest: bool) -> tuple[Plan, Rescan]:
        """Which days to copy, and as of when; the plan is then that of all days that were looked at."""
        if self.days_named:
            # They are copied whatever is known of them.
            read_at = await now(self.warehouse, plan.copy.location)
            return plan, Rescan(read_at, tuple(self.window.days()), 0, empty=False, undated=0)
        read_at, known = await together(
            now(self.warehouse, plan.copy.location), self._known(plan, with_manifest=with_manifest)
        )
        self.catch_up(known.last_read)
        plan = plan.over(self.due.hull)
        return plan, await rescan(
            self.warehouse, plan, self.due, known, read_at, rescan_days=self.rescan_days, reader=self._reader
        )

    async def _known(self, plan: Plan, *, with_manifest: bool) -> Known:
        if plan.existing is None or not with_manifest or not plan.has_days:
            return Known()
        reach = self.window.back_to(self._catch_up_days)
        return await Manifest(self.warehouse, plan.target, plan.copy).known(self.window, reach, plan.existing)

    async def _undated(self, plan: Plan, found: Rescan) -> int:
        if not self.days_named:
            return found.undated
        try:
            return await count_undated(self._reader or self.warehouse, plan)
        except ProcessorError as error:
            # It is only told: a limit of bytes that the copy keeps to may be too small for this one.
            _log.warning("rows without a time couldn't be counted", error=str(error))
            return 0

    async def _staged(self, plan: Plan, read_at: datetime) -> Counted:
        self._staging = Staging(self.warehouse, self._dataset, self._suffix, self._reader)
        if plan.by_query:
            return await self._staging.by_query(plan.copy, read_at)
        return await self._staging.by_storage(
            plan.copy, read_at, lambda rows: self.progress.report(Stage.EXTRACT, rows / (rows + 1_000_000), rows)
        )

    async def _note_reading(self, plan: Plan, found: Rescan | None) -> None:
        if found is not None and found.settled:
            await Manifest(self.warehouse, plan.target, plan.copy).note_reading(found.settled, found.read_at)

    async def _published(self, plan: Plan, counted: Counted, staging: str, found: Rescan | None) -> int:
        publisher = Publisher(self.warehouse, [plan.target], self.run_id)
        manifest = Manifest(self.warehouse, plan.target, plan.copy)
        settled = found.settled if found else ()
        noted = (manifest.reading(settled, counted.read_at),) if settled else ()
        await together(publisher.prepare([(plan.target, plan.existing, plan.copy.columns)]), manifest.prepare())
        self.progress.report(Stage.LOAD, 0.2, counted.rows)
        publication = Publication(
            plan.target,
            staging,
            plan.published,
            plan.windows,
            rows=counted.rows,
            read_at=counted.read_at,
            moving=() if plan.source.is_table else self.moving(counted.read_at, plan.windows),
            also=(*manifest.statements(plan.windows, counted.days, self.run_id, counted.read_at), *noted),
        )
        return await self.commit(publisher, [publication])

    async def _plan(self) -> tuple[Plan, bool]:
        """What to do with the window, and whether the dataset has a manifest."""
        return await together(
            make_plan(
                self.warehouse,
                self._settings,
                self.window,
                time_column=billing_export.TIME_COLUMN,
                cluster_by=billing_export.CLUSTER_BY,
                narrowed=billing_export.ingested_since,
                reader=self._reader,
            ),
            has_manifest(self.warehouse, self._dataset),
        )
