"""Finds the days of a window that have changed at the source since they were copied: one query over both sides each."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial

from pipeline_runner.bigquery import daily
from pipeline_runner.bigquery.copying import origin
from pipeline_runner.bigquery.due_days import DueDays, is_settled
from pipeline_runner.bigquery.emptying import refuse_emptying, tell_kept
from pipeline_runner.bigquery.manifest import Known, changed
from pipeline_runner.bigquery.planning import Plan
from pipeline_runner.bigquery.source import READ_RIGHT
from pipeline_runner.bigquery.tenancy import check_references
from pipeline_runner.bigquery.warehouse import Warehouse


@dataclass(frozen=True)
class Rescan:
    """The days to copy, as the source stood at `read_at`, and how many needn't be.

    `settled`: of the latter, those whose last reading this is. `empty`: the source has no rows for any day of the
    window. `undated` rows of it belong to no day.
    """

    read_at: datetime
    days: tuple[date, ...]
    unchanged: int
    empty: bool
    undated: int
    settled: tuple[date, ...] = ()


async def rescan(
    warehouse: Warehouse,
    plan: Plan,
    due: DueDays,
    known: Known,
    read_at: datetime,
    *,
    rescan_days: int,
    reader: Warehouse | None = None,
) -> Rescan:
    """Compare the source with what is known, for each of the days that are due; the plan is that of their hull.

    `reader` reads the source, if not the installation.
    """
    copy, source = replace(plan.copy, condition=plan.surveyed), plan.source
    own = warehouse.settings.project, plan.target.dataset.rpartition(".")[2]
    rows = await (reader or warehouse).query(
        "survey",
        daily.statement(source.columns, source.time, copy.money, origin(copy, read_at)),
        location=source.location,
        what=f"looking for changed days in source table {source.name}",
        right=READ_RIGHT,
        inspect=None if source.is_table else partial(check_references, *own, source.name),
    )
    found = daily.read(rows, copy.money)
    looked_at = [day for window in due.windows for day in window.days()]
    # Nobody asked for these any more, so a source that keeps its rows for a while must not take them from the target.
    gone = [day for day in due.again if day not in found and known.rows.get(day)]
    if gone:
        tell_kept(gone, plan.target)
    days = [day for day in changed(looked_at, found, known.figures, copy) if day not in gone]
    unchanged = set(looked_at).difference(days)
    settled = [
        day
        for day in sorted(unchanged)
        if is_settled(day, read_at, rescan_days) and not is_settled(day, known.last_read[day], rescan_days)
    ]
    return Rescan(read_at, tuple(days), len(unchanged), not found, daily.undated(rows), tuple(settled))


async def refuse_emptied(warehouse: Warehouse, plan: Plan, found: Rescan) -> None:
    """Raise DataError where the target has rows for the plan's days, and the source suddenly has none for any."""
    if found.empty and found.days and plan.has_days:
        await refuse_emptying(warehouse, plan.target, plan.only(found.days).windows)
