"""Knows what was copied of each day, so that a rescan copies only the days that have changed since.

`_pipelines_manifest` has a row for each day of each target: what the day came to when it was copied. It is written in
the transaction that publishes the day, so it never tells of rows that don't stand there, nor leaves out some that do.
What somebody else changes in a target it can't know: the target's rows are counted as well, by the same query.
"""
# ruff: noqa: S608 - all names in the statements have been checked by pattern, all values are escaped by sql.text

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

import structlog

from pipeline_runner.bigquery import daily, sql
from pipeline_runner.bigquery.columns import Column, fields
from pipeline_runner.bigquery.copying import Copy
from pipeline_runner.bigquery.daily import Figures
from pipeline_runner.bigquery.due_days import LastRead
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.publishing import LINEAGE, Target
from pipeline_runner.bigquery.warehouse import WRITE_RIGHT, Row, Warehouse
from pipeline_runner.bigquery.window import Window, listed_days
from pipeline_runner.errors import ProcessorError

_log = structlog.get_logger(__name__)

MANIFEST = "_pipelines_manifest"
# Raised when the same source would be copied into other rows than before: all days are then copied once more.
_VERSION = 1
_SCHEMA = (
    Column("target", "STRING", description="The table that the day was copied into."),
    Column("day", "DATE", description="The day, by the source's time column, in UTC."),
    Column("row_count", "INTEGER", description="Its rows."),
    Column("max_export_time", "TIMESTAMP", description="Its newest export_time; NULL without such a column."),
    Column("sums", "STRING", description="The exact sum of each column of money, as JSON: decimals in quotes."),
    Column("source", "STRING", description="The table that it was copied from."),
    Column("shape", "STRING", description="A digest of the columns on both sides; another one means to copy again."),
    Column("run_id", "STRING", description="The run that copied it."),
    Column("read_at", "TIMESTAMP", description="When the source was read last, or looked at late enough."),
    Column("copied_at", "TIMESTAMP", description="When the transaction was made."),
)


@dataclass(frozen=True)
class Known:
    """What is known of a target's days.

    `last_read` has those that were copied at all, as far back as was asked for, and the first one ever; `rows` says how
    many rows they had, whichever source they came from. `figures` are what the days came to that were copied from this
    source, in this shape, and still have as many rows.
    """

    last_read: LastRead = field(default_factory=dict)
    rows: Mapping[date, int] = field(default_factory=dict)
    figures: Mapping[date, Figures] = field(default_factory=dict)


async def has_manifest(warehouse: Warehouse, dataset: str) -> bool:
    """Whether a dataset (project.dataset) has the table."""
    return await warehouse.table(f"{dataset}.{MANIFEST}", what="table", right=WRITE_RIGHT) is not None


class Manifest:
    """The manifest of one target, as far as it was copied from this source, in this shape."""

    def __init__(self, warehouse: Warehouse, target: Target, copy: Copy) -> None:
        self._warehouse = warehouse
        self._target = target
        self._copy = copy
        self._name = f"{target.dataset}.{MANIFEST}"
        self._shape = shape(copy)

    async def known(self, window: Window, reach: Window, existing: bigquery.Table) -> Known:
        """What was copied of the days of `reach`, of which those of `window` are counted in the target as well.

        `existing` is the target as it stands: nothing counts that was copied into an earlier table of its name. One
        query asks for everything.
        """
        rows = await self._warehouse.query(
            "manifest",
            "\nUNION ALL\n".join(self._selects(window, reach, existing)),
            location=self._target.location,
            what=f"reading {self._name}, and counting the rows of {self._target.name}",
            right=WRITE_RIGHT,
        )
        standing = {daily.day_of(row["day"]): row["row_count"] for row in rows if row["kind"] == "standing"}
        copied = {daily.day_of(row["day"]): row for row in rows if row["kind"] == "copied"}
        first = [daily.day_of(row["day"]) for row in rows if row["kind"] == "first" and row["day"] is not None]
        figures = {
            day: found
            for day, row in copied.items()
            if row["ours"] and (found := _read(row, self._copy.money)) is not None
        }
        lost = [day for day in window.days() if day in figures and figures[day].rows != standing.get(day, 0)]
        if lost:
            _log.warning(
                "days of the target were changed by somebody else", days=listed_days(lost), table=self._target.name
            )
        last_read = dict.fromkeys(first) | {day: row["read_at"] for day, row in copied.items()}
        rows_copied = {day: row["row_count"] for day, row in copied.items()}
        return Known(last_read, rows_copied, {day: found for day, found in figures.items() if day not in lost})

    def _selects(self, window: Window, reach: Window, existing: bigquery.Table) -> Iterator[str]:
        name, target = sql.quoted(self._name), self._target
        mine = f"target = {sql.text(target.table)}"
        if existing.created is not None:
            mine += f" AND copied_at >= {sql.moment(existing.created)}"
        ours = f"source = {sql.text(self._copy.source.name)} AND shape = {sql.text(self._shape)}"
        nothing = (
            "CAST(NULL AS TIMESTAMP) AS max_export_time, CAST(NULL AS STRING) AS sums, FALSE AS ours, "
            "CAST(NULL AS TIMESTAMP) AS read_at"
        )
        yield (
            "SELECT 'copied' AS kind, UNIX_DATE(day) AS day, row_count, max_export_time, sums, "
            f"{ours} AS ours, read_at FROM {name} WHERE {mine} AND {reach.contains('day', 'DATE')}"
        )
        yield (
            f"SELECT 'first' AS kind, MIN(UNIX_DATE(day)) AS day, 0 AS row_count, {nothing} "
            f"FROM {name} WHERE {mine} AND day < {Window.literal(reach.first, 'DATE')}"
        )
        days = (
            f"SELECT {daily.number_of('t', target.time)} AS day, COUNT(*) AS row_count "
            f"FROM {sql.quoted(target.name)} AS t WHERE {target.inside([window])} GROUP BY 1"
        )
        yield f"SELECT 'standing' AS kind, day, row_count, {nothing} FROM ({days})"

    async def prepare(self) -> None:
        """Make the table where it is missing."""
        table = bigquery.Table(self._name, fields(_SCHEMA))
        table.clustering_fields = ["target", "day"]
        await self._warehouse.create_table(table, exists_ok=True)

    def statements(
        self, windows: Sequence[Window], copied: Mapping[date, Figures], run_id: str, read_at: datetime
    ) -> tuple[str, ...]:
        """What the transaction that replaces `windows` writes of them; a day that isn't in `copied` has no rows."""
        name, target = sql.quoted(self._name), sql.text(self._target.table)
        inside = " OR ".join(f"({window.contains('day', 'DATE')})" for window in windows)
        empty = Figures.empty(self._copy.money)
        end = f"{sql.text(self._copy.source.name)}, {sql.text(self._shape)}, {sql.text(run_id)}, {sql.moment(read_at)}"
        rows = ",\n  ".join(
            f"({target}, {Window.literal(day, 'DATE')}, {self._values(copied.get(day, empty))}, {end}, "
            "CURRENT_TIMESTAMP())"
            for day in _days(windows)
        )
        names = ", ".join(column.name for column in _SCHEMA)
        return (
            f"DELETE FROM {name} WHERE target = {target} AND ({inside});",
            f"INSERT INTO {name} ({names}) VALUES\n  {rows};",
        )

    def reading(self, days: Sequence[date], read_at: datetime) -> str:
        """A statement that notes of days that haven't changed that they were looked at, so that they count as read."""
        inside = " OR ".join(f"({window.contains('day', 'DATE')})" for window in Window.ranges(days))
        at = sql.moment(read_at)
        return (
            f"UPDATE {sql.quoted(self._name)} SET read_at = {at} WHERE target = {sql.text(self._target.table)} "
            f"AND read_at < {at} AND ({inside});"
        )

    async def note_reading(self, days: Sequence[date], read_at: datetime) -> None:
        """Carry out `reading`, where there is nothing to publish. A failure is told: the next run looks once more."""
        try:
            await self._warehouse.query(
                "reading", self.reading(days, read_at), location=self._target.location, what=f"writing {self._name}",
                right=WRITE_RIGHT, wants_rows=False,
            )  # fmt: skip
        except ProcessorError as error:
            _log.warning("days that are unchanged will be looked at again", days=listed_days(days), error=str(error))

    def _values(self, figures: Figures) -> str:
        newest = "CAST(NULL AS TIMESTAMP)" if figures.newest is None else sql.moment(figures.newest)
        sums = json.dumps(dict(zip(self._copy.money, map(_plain, figures.sums), strict=True)))
        return f"{figures.rows}, {newest}, {sql.text(sums)}"


def changed(
    days: Iterable[date], found: Mapping[date, Figures], known: Mapping[date, Figures], copy: Copy
) -> list[date]:
    """Those of the days that aren't at the source as they were copied, or of which nothing is known."""
    empty = Figures.empty(copy.money)
    return [day for day in days if known.get(day) != found.get(day, empty)]


def shape(copy: Copy) -> str:
    """A digest of what the copied rows look like: the columns on both sides, and the column that tells the day."""
    lineage = {column.name.lower() for column in LINEAGE}
    sides = {
        "version": _VERSION,
        "time": copy.source.time.name,
        "source": [_typed(column) for column in copy.source.columns],
        "target": [_typed(column) for column in copy.columns if column.name.lower() not in lineage],
    }
    return hashlib.sha256(json.dumps(sides, sort_keys=True).encode()).hexdigest()[:32]


def _typed(column: Column) -> list[object]:
    """A column without its description, which changes nothing in the rows."""
    return [column.name, column.type, column.repeated, [_typed(each) for each in column.fields]]


def _read(row: Row, money: tuple[str, ...]) -> Figures | None:
    """A day's row; None where it can't be read, so that the day is copied again."""
    try:
        sums = json.loads(row["sums"])
        return Figures(row["row_count"], row["max_export_time"], tuple(Decimal(sums[name]) for name in money))
    except (ValueError, KeyError, TypeError, InvalidOperation):
        return None


def _plain(value: Decimal) -> str:
    return f"{value:f}"


def _days(windows: Sequence[Window]) -> Iterator[date]:
    return (day for window in windows for day in window.days())
