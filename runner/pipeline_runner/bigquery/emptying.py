"""Refuses to empty a table's days where nobody has asked for it: a source that suddenly has none is rather at fault."""
# ruff: noqa: S608 - all names in the statement have been checked by pattern

from collections.abc import Iterable, Sequence
from datetime import date

import structlog

from pipeline_runner.bigquery import daily, sql
from pipeline_runner.bigquery.transaction import Target
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.bigquery.window import Window, listed, listed_days
from pipeline_runner.errors import DataError

_log = structlog.get_logger(__name__)


async def days_to_keep(warehouse: Warehouse, target: Target, days: Sequence[date]) -> list[date]:
    """Those of the days that a target has rows for: nobody asked for them, and the source has none for them now."""
    if not days:
        return []
    number = daily.number_of("t", target.time)
    inside = target.inside(Window.ranges(days))
    statement = f"SELECT DISTINCT {number} AS day FROM {sql.quoted(target.name)} AS t WHERE {inside}"
    what = f"looking for days of {target.name} that would be emptied"
    rows = await warehouse.query(f"keeping_{target.table}", statement, location=target.location, what=what)
    kept = sorted(daily.day_of(row["day"]) for row in rows)
    if kept:
        tell_kept(kept, target)
    return kept


def tell_kept(days: Iterable[date], target: Target) -> None:
    """Warn of days whose rows stay in a target, though the source has none for them any more."""
    told = "days that the source has no rows for any more keep theirs; a run that names them empties them"
    _log.warning(told, days=listed_days(days), table=target.name)


async def refuse_emptying(warehouse: Warehouse, target: Target, windows: Sequence[Window]) -> None:
    """For a target that exists and would be left without rows in `windows`, by a run whose caller named no days.

    Raises DataError where rows stand there now.
    """
    statement = f"SELECT COUNT(*) AS n FROM {sql.quoted(target.name)} WHERE {target.inside(windows)}"
    what = f"counting the rows of {target.name}"
    (row,) = await warehouse.query(f"emptying_{target.table}", statement, location=target.location, what=what)
    if row["n"]:
        raise DataError(
            f"nothing was published: {target.name} has {row['n']} rows for {listed(windows)}, and the source "
            "now has none at all; if that is right, a run that names the days (date, or start_date and end_date) "
            "empties them"
        )
