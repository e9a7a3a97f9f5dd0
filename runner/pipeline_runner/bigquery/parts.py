"""Collects lines in a temporary file, and loads it into a table whenever it is large enough."""

import asyncio
import tempfile
from typing import IO

from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.failures import explained
from pipeline_runner.bigquery.warehouse import Warehouse

PART_BYTES = 32 * 1024 * 1024


class Parts:
    """The lines of newline-delimited JSON for one table; `name` tells its load jobs from others of the run."""

    def __init__(
        self, warehouse: Warehouse, name: str, table: str, columns: tuple[Column, ...], *, location: str
    ) -> None:
        self._warehouse = warehouse
        self._name = name
        self._table = table
        self._columns = columns
        self._location = location
        self._file: IO[bytes] | None = None
        self._bytes = 0
        self._loaded = 0
        # One part of a table is loaded at a time, so that no more than two are on the disk for each writer that waits.
        self._loading = asyncio.Lock()

    @property
    def full(self) -> bool:
        """Whether the part is large enough to be loaded."""
        return self._bytes >= PART_BYTES

    def write(self, line: bytes) -> None:
        """Append a line to the part. Raises TransientError where the disk is full."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="rows-")  # noqa: SIM115 - closed by load or close
            self._file.write(line)
        except OSError:
            # Only now: for each of many lines it would take as long as the line.
            with explained(f"writing rows of {self._table}"):
                raise
        self._bytes += len(line)

    async def load(self) -> None:
        """Load what was written since the last time, if anything was."""
        file, self._file, self._bytes = self._file, None, 0
        if file is None:
            return
        self._loaded += 1
        step = f"load_{self._name}_{self._loaded}"
        # crash here: what is loaded stands in this attempt's staging table, which the next one doesn't look at
        with file:
            async with self._loading:
                with explained(f"writing rows of {self._table}"):
                    file.flush()
                await self._warehouse.load_ndjson(step, file, self._table, self._columns, location=self._location)

    def close(self) -> None:
        """Give up what wasn't loaded."""
        if self._file is not None:
            self._file.close()
            self._file = None
