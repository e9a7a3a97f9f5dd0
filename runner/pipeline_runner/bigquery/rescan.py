"""Finds the days of a window that have changed at the source since they were copied: one query over both sides each."""

from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

from pipeline_runner.bigquery import daily
from pipeline_runner.bigquery.manifest import Manifest, changed
from pipeline_runner.bigquery.planning import Plan
from pipeline_runner.bigquery.source import READ_RIGHT
from pipeline_runner.bigquery.staging import now, origin
from pipeline_runner.bigquery.tenancy import check_references
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.bigquery.window import Window


@dataclass(frozen=True)
class Rescan:
    """The days to copy, as the source stood at `read_at`, and how many needn't be."""

    read_at: datetime
    days: tuple[date, ...]
    unchanged: int


async def rescan(warehouse: Warehouse, plan: Plan, window: Window, reader: Warehouse | None = None) -> Rescan:
    """Compare the source with the manifest, day by day. `reader` reads the source, if not the installation."""
    copy, source = plan.copy, plan.source
    read_at, known = await together(
        now(warehouse, copy.location), Manifest(warehouse, plan.target, copy).known(window, plan.existing)
    )
    own = warehouse.settings.project, plan.target.dataset.rpartition(".")[2]
    rows = await (reader or warehouse).query(
        "survey",
        daily.statement(source.columns, source.time, copy.money, origin(copy, read_at)),
        location=source.location,
        what=f"looking for changed days in source table {source.name}",
        right=READ_RIGHT,
        inspect=None if source.is_table else partial(check_references, *own, source.name),
    )
    days = changed(window, daily.read(rows, copy.money), known, copy)
    return Rescan(read_at, tuple(days), sum(1 for _ in window.days()) - len(days))
