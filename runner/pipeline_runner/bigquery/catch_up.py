"""Reads from the commit markers when each day was read last, so that a run can tell those that it is to read."""
# ruff: noqa: S608 - all names in the statement have been checked by pattern, all values are escaped by sql.text

from collections.abc import Sequence
from datetime import date, datetime

from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.due_days import LastRead
from pipeline_runner.bigquery.transaction import Target
from pipeline_runner.bigquery.warehouse import WRITE_RIGHT, Warehouse
from pipeline_runner.bigquery.window import Window


async def last_readings(warehouse: Warehouse, targets: Sequence[Target], last: date) -> LastRead:
    """The days until `last` that have been published in every one of the targets, be it without rows.

    The targets are of one dataset. What was published longer ago than markers are kept isn't known.
    """
    commits = targets[0].commits
    if await warehouse.table(commits, what="table", right=WRITE_RIGHT) is None:
        return {}
    names = ", ".join(sql.text(each.table) for each in targets)
    # A marker without days has NULLs there, which no comparison lets through.
    statement = (
        f"SELECT target, window_start, window_end, MAX(read_at) AS read_at FROM {sql.quoted(commits)} "
        f"WHERE target IN ({names}) AND window_start <= {Window.literal(last, 'DATE')} "
        "GROUP BY target, window_start, window_end"
    )
    rows = await warehouse.query(
        "published", statement, location=targets[0].location, what=f"reading {commits}", right=WRITE_RIGHT
    )
    read: dict[str, dict[date, datetime | None]] = {each.table: {} for each in targets}
    for row in rows:
        days = read[row["target"]]
        for day in Window(row["window_start"], row["window_end"]).days():
            days[day] = _later(days[day], row["read_at"]) if day in days else row["read_at"]
    everywhere = set.intersection(*(set(days) for days in read.values()))
    return {day: _earliest([days[day] for days in read.values()]) for day in everywhere}


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one is not None and other is not None else one or other


def _earliest(times: Sequence[datetime | None]) -> datetime | None:
    return min((each for each in times if each is not None), default=None)
