"""The base of processors that make rows of their own, such as from an API: staged, checked, published at once."""

import asyncio
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from pydantic import ValidationError

from pipeline_core.catalog.checks import ChecksSection, TableChecks
from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import by_name
from pipeline_runner.bigquery.evolution import fitted
from pipeline_runner.bigquery.focus_view import ensure_focus_view
from pipeline_runner.bigquery.publishing import WRITE_RIGHT, Publication, Publisher, Target, refuse_lineage
from pipeline_runner.bigquery.rows import RowStaging, RowTable
from pipeline_runner.bigquery.staging import Counted
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.base import BaseProcessor, ProcessorResult
from pipeline_runner.progress import Stage
from pipeline_runner.settings import PodSettings, QueryLimits, bigquery_settings

_log = structlog.get_logger(__name__)

# A request that makes a staging table is let finish within this time when the run is told to stop.
_OPEN_SECONDS = 3.0


@dataclass(frozen=True)
class Staged:
    """What is staged, by table; `counted` is None where this run has published before, `rows` of them."""

    counted: Mapping[str, Counted] | None
    rows: int = 0


class RowProcessor(BaseProcessor):
    """Fills tables with rows of its own, and replaces the days of the run's window in one transaction.

    A subclass says which `tables` it fills, and `read` brings their rows. The window is `self.window`, of the
    parameters `date`, or `start_date` and `end_date`; running a day again gives the same rows, an empty day empties.
    What is put into `self.details` is told in the run's log.
    """

    def __init__(self, config: dict[str, Any], org_slug: str, run_id: str) -> None:
        super().__init__(config, org_slug, run_id)
        self.details: dict[str, object] = {}
        self._staging: RowStaging | None = None

    def tables(self) -> Sequence[RowTable]:
        """The tables that the run fills."""
        raise NotImplementedError(f"{type(self).__name__} has no tables()")

    async def read(self, staging: RowStaging, window: Window) -> None:
        """Bring the window's rows: `staging.add` takes them, `staging.reject` those that don't fit.

        Progress is its own to report: `self.progress.report(Stage.EXTRACT, fraction, rows)`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no read()")

    def describe(self) -> dict[str, str]:
        """What `preview` says beside the days and the tables, such as what is read."""
        return {}

    async def validate(self, parameters: dict[str, Any]) -> None:
        source = self.config.get("source") or {}
        self.window = Window.from_parameters(parameters, source.get("rescan_days") or 1)
        self._tables = {table.key: table for table in self.tables()}
        self._checks = _checks(self.config, self._tables)
        for table in self._tables.values():
            refuse_lineage(table.columns, f"the table {table.name}")
        settings = bigquery_settings()
        attempt = (PodSettings().uid or uuid.uuid4().hex).replace("-", "")
        identity = Identity(self.org_slug, self.run_id, attempt)
        self.warehouse = Warehouse(settings, identity, **QueryLimits().model_dump())
        self._dataset = f"{settings.project}.{self.config['target']['dataset']}"
        self._suffix = f"{self.run_id}_{attempt}"

    async def preview(self, parameters: dict[str, Any]) -> dict[str, str]:
        await self.validate(parameters)
        location = await self.warehouse.dataset_location(self._dataset)
        written = {f"write {key}": f"{self._dataset}.{each.name} ({location})" for key, each in self._tables.items()}
        return {**self.describe(), "days": f"{self.window} (UTC)", **written}

    async def extract(self, parameters: dict[str, Any]) -> Staged:
        self.progress.report(Stage.EXTRACT, 0.0)
        self._location = await self.warehouse.dataset_location(self._dataset)
        self._targets = {key: self._target(table) for key, table in self._tables.items()}
        self._publisher = Publisher(self.warehouse, list(self._targets.values()), self.run_id)
        before = await self._publisher.committed_rows("marker_before")
        if before is not None:
            _log.info("this run has published before", rows=before)
            return Staged(None, before)
        _log.info("extracting", window=str(self.window), **self.describe())
        self._staging = RowStaging(
            self.warehouse,
            self._dataset,
            self._suffix,
            list(self._tables.values()),
            location=self._location,
            window=self.window,
            checks=self._checks,
        )
        await _let_finish(self._staging.open())
        await self.read(self._staging, self.window)
        return Staged({})

    async def transform(self, data: Staged) -> Staged:
        if data.counted is None or self._staging is None:
            self.progress.report(Stage.TRANSFORM, 1.0, data.rows)
            return data
        counted = await self._staging.finish()
        rows = sum(each.rows for each in counted.values())
        self.progress.report(Stage.TRANSFORM, 1.0, rows)
        return Staged(counted, rows)

    async def load(self, data: Staged) -> ProcessorResult:
        rows = data.rows
        if data.counted is not None and self._staging is not None:
            rows = await self._published(data.counted, self._staging, data.rows)
        # crash here: the next attempt finds the marker, and comes to this line as well
        await ensure_focus_view(self.warehouse, self._dataset, self._location)
        self.progress.report(Stage.LOAD, 1.0, rows)
        targets = [each.name for each in self._targets.values()]
        return ProcessorResult(rows, {"targets": targets, "window": str(self.window), **self.details})

    async def close(self) -> None:
        if self._staging is not None:
            await self.warehouse.stop()
            await self._staging.drop()

    async def _published(self, counted: Mapping[str, Counted], staging: RowStaging, rows: int) -> int:
        prepared = []
        publications = []
        for key, target in self._targets.items():
            existing = await self.warehouse.table(target.name, what="target table", right=WRITE_RIGHT)
            table, staged = self._tables[key], staging.table(key)
            grown = await fitted(self.warehouse, existing, table.columns, f"{sql.quoted(staged)} AS s", self._location)
            # by the type that the table has, which may have been made by somebody else
            target = replace(target, time=by_name(grown)[table.day.lower()])
            values = sql.copied_columns(table.columns, grown)
            prepared.append((target, existing, table.columns))
            publications.append(
                Publication(target, staged, values, (self.window,), counted[key].rows, counted[key].read_at)
            )
        await self._publisher.prepare(prepared)
        self.progress.report(Stage.LOAD, 0.2, rows)
        return await self._publisher.commit(publications)

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


def target_table(config: Mapping[str, Any], key: str | None = None) -> str:
    """The name of the table that `target.table` of a resolved config gives, or with a key `target.tables.<key>`.

    Raises ConfigError where there is none.
    """
    target = config.get("target") or {}
    field, found = "target.table", target.get("table")
    if key is not None:
        field, found = f"target.tables.{key}", (target.get("tables") or {}).get(key)
    if not isinstance(found, str) or not found:
        raise ConfigError(f"{field}: expected the name of a table, got {found!r:.100}")
    return found


def _checks(config: Mapping[str, Any], tables: Mapping[str, RowTable]) -> dict[str, TableChecks]:
    """The checks of each table, by its key: those of `target.table` stand at the top of the section."""
    main = target_table(config)
    try:
        checks = ChecksSection.model_validate(config.get("checks") or {})
        return {key: checks.of(None if table.name == main else key) for key, table in tables.items()}
    except ValidationError as error:
        problems = (f"checks.{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigError("; ".join(problems)) from None
