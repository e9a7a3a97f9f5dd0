"""The base of processors that make rows of their own, such as from an API: staged, checked, published at once."""

import asyncio
from abc import abstractmethod
from collections.abc import Collection, Coroutine, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import structlog

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.catch_up import last_readings
from pipeline_runner.bigquery.columns import by_name
from pipeline_runner.bigquery.counted import Counted
from pipeline_runner.bigquery.due_days import LastRead
from pipeline_runner.bigquery.emptying import days_to_keep, refuse_emptying
from pipeline_runner.bigquery.evolution import fitted
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.publishing import WRITE_RIGHT, Prepared, Publication, Publisher, Target, refuse_lineage
from pipeline_runner.bigquery.rows import RowStaging, RowTable
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.window import Window
from pipeline_runner.processors.base import ProcessorResult
from pipeline_runner.processors.row_config import table_checks
from pipeline_runner.processors.row_config import target_table as target_table
from pipeline_runner.processors.warehouse_processor import WarehouseProcessor
from pipeline_runner.progress import Stage

_log = structlog.get_logger(__name__)

# A request that makes a staging table is let finish within this time when the run is told to stop.
_OPEN_SECONDS = 3.0


@dataclass(frozen=True)
class Staged:
    """What is staged, by table; `counted` is None where this run has published before, `rows` of them."""

    counted: Mapping[str, Counted] | None
    rows: int = 0


class RowProcessor(WarehouseProcessor):
    """Fills tables with rows of its own, and replaces the days of the run's window in one transaction.

    A subclass says which `tables` it fills, and `read` brings their rows. The window is of the parameters `date`, or
    `start_date` and `end_date`; running a day again gives the same rows. Days that the caller named are emptied where
    there are no rows; without that, `source.rescan_days` says how many are covered, those that were missed before them
    or read too early are read as well, and a table that has rows isn't left without any.
    """

    _staging: RowStaging | None = None

    @abstractmethod
    def tables(self) -> Sequence[RowTable]:
        """The tables that the run fills."""

    @abstractmethod
    async def read(self, staging: RowStaging, windows: Sequence[Window]) -> None:
        """Bring the rows of all windows: `staging.add` takes them, `staging.reject` those that don't fit.

        There is one window, unless days that were missed lie apart from the run's own. Progress is its own to report:
        `self.progress.report(Stage.EXTRACT, fraction, rows)`.
        """

    def describe(self) -> dict[str, str]:
        """What `preview` says beside the days and the tables, such as what is read."""
        return {}

    def check_config(self) -> None:
        self._tables = {table.key: table for table in self.tables()}
        self._checks = table_checks(self.config, self._tables)
        for table in self._tables.values():
            refuse_lineage(table.columns, f"the table {table.name}")

    async def validate(self, parameters: dict[str, Any]) -> None:
        await super().validate(parameters)
        self.check_config()

    async def preview(self, parameters: dict[str, Any]) -> dict[str, str]:
        await self.validate(parameters)
        await self._open()
        self.catch_up(await self._last_readings())
        days = f"{self.due} (UTC)" + (f", of which {reason}" if (reason := self.due.reason) else "")
        written = {f"write {key}": f"{each.name} ({each.location})" for key, each in self._targets.items()}
        return {**self.describe(), "days": days, **written}

    async def extract(self, parameters: dict[str, Any]) -> Staged:
        self.progress.report(Stage.EXTRACT, 0.0)
        await self._open()
        self._publisher = Publisher(self.warehouse, list(self._targets.values()), self.run_id)
        self._staging = RowStaging(
            self.warehouse,
            self._dataset,
            self._suffix,
            list(self._tables.values()),
            location=self._location,
            checks=self._checks,
        )
        before, last_read, _ = await together(
            self._publisher.committed_rows("marker_before"), self._last_readings(), _let_finish(self._staging.open())
        )
        if before is not None:
            _log.info("this run has published before", rows=before)
            return Staged(None, before)
        self.catch_up(last_read)
        _log.info("extracting", windows=str(self.due), **self.describe())
        self._staging.keep_to(self.due.windows)
        await self.read(self._staging, self.due.windows)
        return Staged({})

    async def transform(self, data: Staged) -> Staged:
        if data.counted is None or self._staging is None:
            self.progress.report(Stage.TRANSFORM, 1.0, data.rows)
            return data
        counted = await self._staging.finish()
        if rejected := self._staging.rejected:
            self.details["quarantined"] = rejected
        rows = sum(each.rows for each in counted.values())
        self.progress.report(Stage.TRANSFORM, 1.0, rows)
        return Staged(counted, rows)

    async def load(self, data: Staged) -> ProcessorResult:
        rows = data.rows
        if data.counted is not None and self._staging is not None:
            prepared, publications = await self._prepared(data.counted, self._staging)
            await self._publisher.prepare(prepared)
            self.progress.report(Stage.LOAD, 0.2, rows)
            rows = await self.commit(self._publisher, publications)
        else:
            await self.see_to_view(self._location)
        self.progress.report(Stage.LOAD, 1.0, rows)
        targets = [each.name for each in self._targets.values()]
        return ProcessorResult(rows, {"targets": targets, "window": str(self.due), **self.details})

    async def _open(self) -> None:
        self._location = await self.warehouse.dataset_location(self._dataset)
        self._targets = {key: self._target(table) for key, table in self._tables.items()}

    async def _last_readings(self) -> LastRead:
        """The days that have been published, as far as that matters."""
        if not self.catches_up:
            return {}
        return await last_readings(self.warehouse, list(self._targets.values()), self.window.last)

    async def _prepared(
        self, counted: Mapping[str, Counted], staging: RowStaging
    ) -> tuple[list[Prepared], list[Publication]]:
        """What the targets are to be like, and what they get."""
        prepared = []
        publications = []
        standing = await together(
            *(
                self.warehouse.table(each.name, what="target table", right=WRITE_RIGHT)
                for each in self._targets.values()
            )
        )
        for (key, target), existing in zip(self._targets.items(), standing, strict=True):
            table, staged = self._tables[key], staging.table(key)
            grown = await fitted(self.warehouse, existing, table.columns, f"{sql.quoted(staged)} AS s", self._location)
            # by the type that the table has, which may have been made by somebody else
            target = replace(target, time=by_name(grown)[table.day.lower()])
            kept = await self._kept(target, existing, staging.filled(key))
            values = sql.copied_columns(table.columns, grown)
            publication = self._publication(target, staged, values, counted[key], kept)
            if existing is not None and not counted[key].rows and not self.days_named:
                await refuse_emptying(self.warehouse, target, publication.windows)
            prepared.append((target, existing, grown))
            publications.append(publication)
        return prepared, publications

    async def _kept(self, target: Target, existing: bigquery.Table | None, filled: Set[date]) -> list[date]:
        """Days that are read again and stay as they are, since the source has no rows for them any more."""
        vanished = [day for day in self.due.again if day not in filled]
        return [] if existing is None else await days_to_keep(self.warehouse, target, vanished)

    def _publication(
        self, target: Target, staged: str, values: sql.Values, counted: Counted, kept: Collection[date]
    ) -> Publication:
        days = [day for window in self.due.windows for day in window.days() if day not in kept]
        windows = Window.ranges(days)
        return Publication(
            target,
            staged,
            values,
            windows,
            counted.rows,
            counted.read_at,
            moving=self.moving(counted.read_at, windows),
            kept=Window.ranges(kept),
        )

    def _target(self, table: RowTable) -> Target:
        day = by_name(table.columns)[table.day.lower()]
        name = f"{self._dataset}.{table.name}"
        return Target(name, day, self._location, table.cluster_by, table.description, table.key)


async def _let_finish(opening: Coroutine[Any, Any, None]) -> None:
    """Make the staging tables; being stopped meanwhile waits for what is on its way, so that none appears too late."""
    task = asyncio.ensure_future(opening)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task}, timeout=_OPEN_SECONDS)
        task.cancel()
        raise
