"""Reads from the commit markers which days have been published, so that a run can tell those that were missed."""
# ruff: noqa: S608 - all names in the statement have been checked by pattern, all values are escaped by sql.text

from collections.abc import Sequence
from datetime import date

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.transaction import Target
from pipeline_runner.bigquery.warehouse import WRITE_RIGHT, Warehouse
from pipeline_runner.bigquery.window import Window


async def published_days(warehouse: Warehouse, targets: Sequence[Target], last: date) -> frozenset[date]:
    """The days until `last` that have been published in every one of the targets, be it without rows.

    The targets are of one dataset. What was published longer ago than markers are kept isn't known.
    """
    commits = targets[0].commits
    if await warehouse.table(commits, what="table", right=WRITE_RIGHT) is None:
        return frozenset()
    names = ", ".join(sql.text(each.table) for each in targets)
    # A marker without days has NULLs there, which no comparison lets through.
    statement = (
        f"SELECT DISTINCT target, window_start, window_end FROM {sql.quoted(commits)} "
        f"WHERE target IN ({names}) AND window_start <= {Window.literal(last, 'DATE')}"
    )
    rows = await warehouse.query(
        "published", statement, location=targets[0].location, what=f"reading {commits}", right=WRITE_RIGHT
    )
    days: dict[str, set[date]] = {each.table: set() for each in targets}
    for row in rows:
        days[row["target"]].update(Window(row["window_start"], row["window_end"]).days())
    return frozenset.intersection(*map(frozenset, days.values()))
