"""Brings the rows that a processor makes into staging tables, exactly: written to a file, loaded, and counted again."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime

import structlog

from pipeline_core.catalog.checks import TableChecks
from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.checks import check_columns, violations
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.counted import Counted
from pipeline_runner.bigquery.encoding import RowEncoder, UnfitRowError
from pipeline_runner.bigquery.parts import Parts
from pipeline_runner.bigquery.quarantine import Quarantine
from pipeline_runner.bigquery.staging_tables import StagingTables
from pipeline_runner.bigquery.threads import together
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.bigquery.window import Window, listed
from pipeline_runner.errors import DataError

_log = structlog.get_logger(__name__)

# How many rows are written before others get their turn.
_TURN = 500


@dataclass(frozen=True)
class RowTable:
    """A table that a processor fills with rows of its own.

    `key` is its name within the pipeline ("costs"), `name` the table's within the dataset, `columns` those of a row,
    without lineage; `day` the DATE or TIMESTAMP column whose days a run replaces. No row lacks a value in it, or in
    those of `required`.
    """

    key: str
    name: str
    columns: tuple[Column, ...]
    day: str
    cluster_by: tuple[str, ...] = ()
    description: str = ""
    required: tuple[str, ...] = ()


class RowStaging:
    """The staging tables of one attempt at one run; `dataset` is project.dataset, `suffix` names run and attempt.

    `checks` are those of each table, by its key; without any, no row may be rejected.
    """

    def __init__(
        self, warehouse: Warehouse, dataset: str, suffix: str, tables: Sequence[RowTable], *, location: str,
        checks: Mapping[str, TableChecks] | None = None,
    ) -> None:  # fmt: skip
        self._warehouse = warehouse
        self._location = location
        self._windows: tuple[Window, ...] = ()
        self._days: frozenset[date] = frozenset()
        self._filled: dict[str, set[date]] = {table.key: set() for table in tables}
        self._tables = {table.key: table for table in tables}
        self._checks = {key: (checks or {}).get(key, TableChecks()) for key in self._tables}
        for key, table in self._tables.items():
            check_columns(self._checks[key], table.columns, (f"checks of {table.name}",))
        self._staged = StagingTables(warehouse, dataset, suffix)
        self._names = {key: self._staged.name(key) for key in self._tables}
        self._encoders = {
            key: RowEncoder(table.columns, frozenset((table.day, *table.required)))
            for key, table in self._tables.items()
        }
        self._parts = {
            key: Parts(warehouse, key, self._names[key], table.columns, location=location)
            for key, table in self._tables.items()
        }
        self._quarantine = Quarantine(warehouse, dataset, location=location)
        self._read_at: datetime | None = None

    def table(self, key: str) -> str:
        """The name of a staging table, project.dataset.table."""
        return self._names[key]

    async def open(self) -> None:
        """Make the staging tables. BigQuery says when it has made them: the rows are read after that."""
        made = await together(
            *(self._staged.create(name, self._tables[key].columns) for key, name in self._names.items())
        )
        self._read_at = min(made)

    def keep_to(self, windows: Sequence[Window]) -> None:
        """From now on, rows of other days are rejected."""
        self._windows = tuple(windows)
        self._days = frozenset(day for window in windows for day in window.days())

    async def add(self, key: str, rows: Iterable[Mapping[str, object]]) -> None:
        """Write rows; a part that is large enough is loaded.

        Values are str, int, bool, Decimal, date, datetime with its zone, None, and for JSON columns also lists and
        mappings; never floats. What doesn't fit is rejected. Raises TransientError where the disk is full.
        """
        encoder, parts, filled = self._encoders[key], self._parts[key], self._filled[key]
        for number, row in enumerate(rows, 1):
            try:
                day = self._checked_day(key, row)
                line = encoder.encode(row)
            except UnfitRowError as error:
                self.reject(key, row, str(error), self._day(key, row))
                continue
            parts.write(line)
            if day is not None:
                filled.add(day)
            if parts.full:
                await parts.load()
            elif number % _TURN == 0:
                await asyncio.sleep(0)

    def filled(self, key: str) -> Set[date]:
        """The days that a table has staged rows for."""
        return self._filled[key]

    def reject(self, key: str, row: Mapping[str, object], reason: str, day: date | None) -> None:
        """Set a row aside, into the quarantine."""
        self._quarantine.add(key, self._tables[key].name, row, reason, day)

    async def finish(self) -> Mapping[str, Counted]:
        """Load what is left, compare what is staged with what was written, and check it.

        Raises TransientError where they differ, and DataError, with all that is violated, where the checks fail.
        """
        await together(*(parts.load() for parts in self._parts.values()))
        # The quarantine is shown whatever the checks find: it may be why the run fails.
        _, counted, violated = await together(
            self._quarantine.write(),
            together(*(self._compared(key) for key in self._tables)),
            together(*(self._violations(key) for key in self._tables)),
        )
        if found := [each for table in violated for each in table]:
            raise DataError(f"nothing was published, as the rows don't pass their checks: {'; '.join(found)}")
        return dict(zip(self._tables, counted, strict=True))

    @property
    def rejected(self) -> Mapping[str, int]:
        """How many rows were set aside, by the name of the table; none of a table that isn't here."""
        return {table.name: count for key, table in self._tables.items() if (count := self._quarantine.counts[key])}

    async def drop(self) -> None:
        """Drop what was made; called at the end, whatever happened."""
        for parts in self._parts.values():
            parts.close()
        self._quarantine.close()
        await self._staged.drop()

    async def _compared(self, key: str) -> Counted:
        """What is staged of a table, compared with what was written: rows, and sums to the last digit."""
        table, encoder, name = self._tables[key], self._encoders[key], self._names[key]
        if self._read_at is None:
            raise RuntimeError("rows are staged after open()")
        days = len(self._days) or 1
        rows = f"the rows of {table.name}"
        written = Counted.read(encoder.statistics(), encoder.money, rows, self._read_at, days=days)
        statement = sql.statistics(table.columns, encoder.money, f"{sql.quoted(name)} AS s")
        what = f"counting the staged rows of {table.name}"
        (row,) = await self._warehouse.query(f"check_{key}", statement, location=self._location, what=what)
        staged = Counted.read(row, encoder.money, f"the staged rows of {table.name}", self._read_at)
        written.compare(staged, encoder.money, rows, "written")
        _log.info("staged", table=table.name, rows=staged.rows)
        return staged

    async def _violations(self, key: str) -> list[str]:
        rejected = self._quarantine.counts[key]
        found = await violations(
            self._warehouse, f"checks_{key}", self._names[key], self._checks[key], location=self._location,
            quarantined=rejected, where=f"checks of {self._tables[key].name}",
        )  # fmt: skip
        if rejected > self._checks[key].max_quarantined:
            found[-1] += f", the first because of {self._quarantine.reasons[key]}; they are in {self._quarantine.table}"
        return found

    def _day(self, key: str, row: Mapping[str, object]) -> date | None:
        """The day that a row belongs to, in UTC; None where it has none."""
        value = row.get(self._tables[key].day)
        if isinstance(value, datetime):
            try:
                return value.astimezone(UTC).date() if value.tzinfo is not None else None
            except OverflowError:
                return None
        return value if isinstance(value, date) else None

    def _checked_day(self, key: str, row: Mapping[str, object]) -> date | None:
        day = self._day(key, row)
        if day is not None and self._days and day not in self._days:
            raise UnfitRowError(f"{self._tables[key].day}: {day} isn't one of the run's days, {listed(self._windows)}")
        return day
