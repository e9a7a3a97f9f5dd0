"""Brings a window of the source into a staging table that has the target's columns, and checks what arrived.

Nothing here touches the target. Where source and target are in one location, one query moves the rows and none passes
through this process. Otherwise the Storage Read API brings them, and they are converted on their way into the files
that are loaded. Both ways make the same decimals of the same floats, so they give the same rows to the last digit.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from pipeline_runner.bigquery import daily, sql
from pipeline_runner.bigquery.columns import by_name
from pipeline_runner.bigquery.copying import Copy, origin
from pipeline_runner.bigquery.counted import Counted
from pipeline_runner.bigquery.failures import explained
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.source import READ_RIGHT
from pipeline_runner.bigquery.staging_tables import StagingTables
from pipeline_runner.bigquery.tenancy import check_references
from pipeline_runner.bigquery.threads import in_thread, together
from pipeline_runner.bigquery.warehouse import Warehouse

if TYPE_CHECKING:
    from pipeline_runner.bigquery.storage_read import Part

_log = structlog.get_logger(__name__)


class Staging:
    """The staging tables of one attempt at one run; `project.dataset` is the target's.

    `reader` is who reads the source, if not the installation: its project and its credentials.
    """

    def __init__(self, warehouse: Warehouse, dataset: str, suffix: str, reader: Warehouse | None = None) -> None:
        self._warehouse = warehouse
        self._reader = reader or warehouse
        self._tables = StagingTables(warehouse, dataset, suffix)
        self.table = self._tables.name()
        self._stop = threading.Event()

    async def by_query(self, copy: Copy, read_at: datetime) -> Counted:
        """Copy server-side what stood in the source at `read_at`; source and target must be in one location."""
        rows = origin(copy, read_at)
        # The count fails first where both do: it says more.
        expected, _ = await together(self._count(copy, rows, read_at), self._convert(copy, rows))
        return await self._checked(copy, expected)

    async def by_storage(self, copy: Copy, read_at: datetime, on_rows: Callable[[int], None]) -> Counted:
        """Read by the Storage Read API, convert and count on the way, and load; `on_rows` hears the rows so far.

        What is read is what stood there at `read_at`.
        """
        # These import pyarrow and grpc: only where they are needed.
        from pipeline_runner.bigquery import storage_read
        from pipeline_runner.bigquery.conversion import Conversion

        source = copy.source
        right = f"{READ_RIGHT}, and bigquery.readsessions.create on {self._reader.settings.project}"
        conversion = Conversion(source.columns, copy.wanted, copy.money)
        parts = storage_read.read_parts(
            self._reader.settings, source.path, source.columns, copy.condition, self._stop, conversion.convert,
            identity=self._reader.credentials, read_at=read_at,
        )  # fmt: skip
        rows, number = 0, 0
        loading: Awaitable[object] = self._tables.create(self.table, copy.wanted)
        with ExitStack() as files:
            while True:
                # A part is loaded while the next one is read.
                part, _ = await together(_next_part(parts, files, source.name, right), loading)
                if part is None:
                    break
                rows, number = rows + part.rows, number + 1
                on_rows(rows)
                loading = self._load(copy, part, number)
        expected = copy.counted(conversion.statistics(), f"source table {source.name}", read_at)
        return await self._checked(copy, expected)

    async def drop(self) -> None:
        """Drop what was made; called at the end, whatever happened."""
        self._stop.set()
        await self._tables.drop()

    async def _checked(self, copy: Copy, expected: Counted) -> Counted:
        """What is staged, compared with what is expected: rows, and sums to the last digit."""
        time = by_name(copy.wanted)[copy.source.time.name.lower()]
        statement = daily.statement(copy.wanted, time, copy.money, f"{sql.quoted(self.table)} AS s")
        what = "counting the rows of the staging table"
        rows = await self._warehouse.query("check", statement, location=copy.location, what=what)
        days = daily.read(rows, copy.money)
        whole = daily.total(days, copy.money)
        staged = Counted(expected.read_at, whole.rows, whole.sums, days)
        expected.compare(staged, copy.money, copy.source.name, "at the source")
        _log.info("staged", rows=staged.rows)
        return staged

    async def _load(self, copy: Copy, part: "Part", number: int) -> None:
        with part.file as file:
            await self._warehouse.load_parquet(f"load{number}", file, self.table, copy.wanted, location=copy.location)

    async def _convert(self, copy: Copy, origin: str) -> None:
        """Make the staging table of the rows, converted, in one statement: the table is there whole or not at all."""
        values = sql.copied_columns(copy.source.columns, copy.wanted)
        statement = sql.create(self.table, values, origin, self._tables.expected(self.table))
        # crash here: the table expires by itself, and the next attempt's has another name
        await self._warehouse.query(
            "stage", statement, location=copy.location, what=f"copying {copy.source.name}",
            right=f"{READ_RIGHT}, and bigquery.tables.create on {self.table.rpartition('.')[0]}",
            inspect=None if copy.source.is_table else partial(self._check_read, copy),
        )  # fmt: skip

    def _check_read(self, copy: Copy, tables: Sequence[bigquery.TableReference]) -> None:
        """A view may have been changed since it was looked behind: what counts is what was read."""
        project, dataset, _ = self.table.rsplit(".", 2)
        check_references(project, dataset, copy.source.name, tables)

    async def _count(self, copy: Copy, origin: str, read_at: datetime) -> Counted:
        what = f"source table {copy.source.name}"
        statement = sql.statistics(copy.source.columns, copy.money, origin)
        rows: list[Any] = await self._warehouse.query(
            "count", statement, location=copy.location, what=f"counting the rows of {what}", right=READ_RIGHT
        )
        return copy.counted(rows[0], what, read_at)


async def now(warehouse: Warehouse, location: str) -> datetime:
    """BigQuery's time, to be asked for before a read: what a run calls its read's time is never later than that.

    The clocks of pods differ.
    """
    statement = "SELECT CURRENT_TIMESTAMP() AS read_at"
    rows = await warehouse.query("clock", statement, location=location, what="asking for the time")
    read_at: datetime = rows[0]["read_at"]
    return read_at


async def _next_part(parts: "Iterator[Part]", files: ExitStack, source: str, right: str) -> "Part | None":
    """The next part, whose file is closed with `files` at the latest: what is loaded meanwhile may fail."""
    with explained(f"reading source table {source}", right=right):
        part = await in_thread(lambda: next(parts, None))
    if part is not None:
        files.enter_context(part.file)
    return part
