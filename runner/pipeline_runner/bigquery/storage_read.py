"""Reads a table by the Storage Read API into Parquet files of bounded size. Blocking; to be used on a thread.

Memory doesn't grow with the rows: Arrow batches go to temporary files as they come. Two exist at a time, since one is
loaded while the next one is written.
"""

import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO

import pyarrow
from google.auth.credentials import Credentials
from pyarrow import parquet

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.read_session import open_session

# A load job takes one file, and a table 1,500 load jobs a day: files of this size allow about 384 GB a run, compressed.
# Two of them have room on the runner's volume; an upload holds but a piece of one in memory (library.py).
PART_BYTES = 256 * 1024 * 1024
_ROW_GROUP_BYTES = 4 * 1024 * 1024
_ROW_GROUP_ROWS = 50_000

Convert = Callable[[pyarrow.RecordBatch], pyarrow.RecordBatch]


@dataclass(frozen=True)
class Part:
    """One Parquet file, open for reading, and its rows. Whoever takes it closes the file, which then is gone."""

    file: IO[bytes]
    rows: int


def read_parts(
    settings: BigQuerySettings, path: str, columns: tuple[Column, ...], condition: str, stop: threading.Event,
    convert: Convert, *, part_bytes: int = PART_BYTES, identity: Credentials | None = None,
    read_at: datetime | None = None,
) -> Iterator[Part]:  # fmt: skip
    """The rows of one snapshot, that of `read_at` or now, that meet the condition, as Parquet files of `part_bytes`.

    `identity` reads, or whom the settings name. Rows are written as `convert` returns them; it is also asked about
    none, for their schema.

    Ends early when `stop` is set. Raises google.api_core's GoogleAPICallError when the read fails, and TransientError
    when it stands still.
    """
    with open_session(settings, path, columns, condition, stop, identity=identity, read_at=read_at) as batches:
        while True:
            file = tempfile.TemporaryFile(prefix="part-")  # noqa: SIM115 - closed by whoever takes the part
            try:
                rows = _write_part(file, batches, convert, part_bytes)
            except BaseException:
                file.close()
                raise
            if not rows or stop.is_set():
                file.close()
                return
            file.seek(0)
            yield Part(file, rows)


def _write_part(file: IO[bytes], batches: Iterator[pyarrow.RecordBatch], convert: Convert, part_bytes: int) -> int:
    """Write batches until the file is large enough; how many rows that are, 0 if none were left."""
    batch = next(batches, None)
    if batch is None:
        return 0
    rows = 0
    # no statistics: a load job reads every row
    schema = convert(batch.slice(0, 0)).schema
    with parquet.ParquetWriter(file, schema, compression="zstd", write_statistics=False) as writer:
        while batch is not None:
            for start in range(0, batch.num_rows, size := _slice_rows(batch)):
                writer.write_batch(convert(batch.slice(start, size)))  # in pieces: each takes memory of its own
            rows += batch.num_rows
            batch = None
            if file.tell() < part_bytes:
                batch = next(batches, None)
    return rows


def _slice_rows(batch: pyarrow.RecordBatch) -> int:
    """Rows of a row group: so many that it stays within both bounds."""
    bytes_a_row: int = max(1, batch.nbytes // batch.num_rows)
    return max(1, min(_ROW_GROUP_ROWS, _ROW_GROUP_BYTES // bytes_a_row))
