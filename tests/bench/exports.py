"""Billing exports of any size, nested as Google writes them or flat, and runs that copy them."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.cloud import bigquery

from bench import environments
from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local.quickstart import source
from pipeline_local.quickstart.export import billing_export
from pipeline_local.services.bigquery import start_bigquery
from support.billing import Billing
from support.figures import peak_rss_mib

DAYS = 10
LAST = date(2026, 11, 20)
FIRST = LAST - timedelta(days=DAYS - 1)
# An export is generated up to this size; a larger one has the same rows several times.
_GENERATED = 1_000_000


def export(rows: int, *, nested: bool) -> tuple[pa.Table, int]:
    """Rows of a billing export, and how often they are to be taken to have about so many.

    Flat: every column that isn't in an array, under a name of its own.
    """
    times = max(1, rows // _GENERATED)
    made = billing_export(LAST, days=DAYS, rows_per_day=rows // times // DAYS)
    if not nested:
        while any(pa.types.is_struct(field.type) for field in made.schema):
            made = made.rename_columns([field.name for field in made.schema]).flatten()
        lists = [field.name for field in made.schema if pa.types.is_list(field.type)]
        made = made.drop_columns(lists)
        made = made.rename_columns([name.replace(".", "_") for name in made.column_names])
    return made, times


class Export:
    """A stand-in that holds one export, and nothing of earlier copies: it keeps a snapshot of each change in memory."""

    def __init__(self, settings: BigQuerySettings, folder: Path, rows: pa.Table, times: int) -> None:
        self._client = bigquery_client(settings)
        self._folder = folder
        self._billing = Billing(settings)
        self.rows = rows.num_rows * times
        self.table = f"{self._billing.source_dataset}.export"
        self.dataset = self._billing.dataset
        self._load(rows, times)

    def copy(self, read: str) -> float:
        """Copy it by one run in a process of its own; its peak of memory in MiB."""
        return self._run(self._document(read))[2]

    def rescan(self, read: str, records: int) -> tuple[float, float]:
        """Copy what has changed of all its days by one run: the seconds of the process, and those of its stages."""
        document = self._document(read)
        source = {**document.config["source"], "rescan_days": DAYS}
        changes = {"config": {**document.config, "source": source}, "parameters": {"date": LAST.isoformat()}}
        outcome, seconds, _ = self._run(document.model_copy(update=changes))
        assert outcome["records_processed"] == records
        return seconds, sum(outcome["stages"].values())

    def holds_all(self, table: str) -> bool:
        """Whether a table of the organization's dataset has as many rows."""
        statement = f"SELECT COUNT(*) AS n FROM `{self.dataset}.{table}`"
        (row,) = self._client.query(statement, job_retry=None).result()
        return bool(row["n"] == self.rows)

    def _run(self, document: RunDocument) -> tuple[dict[str, Any], float, float]:
        """A run's outcome, which is a success, the seconds of its process and its peak of memory in MiB."""
        command, variables = environments.runner()
        file, outcome = self._folder / f"{document.run_id}.json", self._folder / "outcome"
        file.write_text(document.model_dump_json())
        variables |= {"PIPELINES_RUN_DOCUMENT": str(file), "PIPELINES_TERMINATION_LOG": str(outcome)}
        seconds, peak = peak_rss_mib(command, variables | {"PIPELINES_LOG_LEVEL": "critical"})
        told: dict[str, Any] = json.loads(outcome.read_text())
        assert told["status"] == "succeeded"
        return told, seconds, peak

    def _document(self, read: str) -> RunDocument:
        document = self._billing.document(read=read, start_date=FIRST.isoformat(), end_date=LAST.isoformat())
        target = {**document.config["target"], "table": read}
        return document.model_copy(update={"config": {**document.config, "target": target}})

    def _load(self, rows: pa.Table, times: int) -> None:
        table = bigquery.Table(self.table, _schema(rows))
        table.time_partitioning = bigquery.TimePartitioning()
        self._client.create_table(table)
        lists = bigquery.ParquetOptions()
        lists.enable_list_inference = True
        config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET, schema=table.schema)
        config.parquet_options = lists
        with tempfile.TemporaryFile() as file:
            with pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
                for _ in range(times):
                    writer.write_table(rows, row_group_size=100_000)
            self._client.load_table_from_file(file, self.table, rewind=True, job_config=config).result(timeout=1200)


@contextmanager
def loaded(folder: Path, rows: pa.Table, times: int = 1) -> Iterator[Export]:
    """An export in a stand-in that the environment leads to meanwhile."""
    with start_bigquery() as server, pytest.MonkeyPatch.context() as environment:
        for name, value in server.environment.items():
            environment.setenv(name, value)
        yield Export(BigQuerySettings(), folder, rows, times)


def _schema(rows: pa.Table) -> list[bigquery.SchemaField]:
    known = {"_".join(path): field for path, field in _leaves(source.schema())} | {
        field.name: field for field in source.schema()
    }
    return [
        bigquery.SchemaField.from_api_repr({**known[name].to_api_repr(), "name": name}) for name in rows.column_names
    ]


def _leaves(
    fields: list[bigquery.SchemaField], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], bigquery.SchemaField]]:
    for field in fields:
        if field.field_type == "RECORD":
            yield from _leaves(list(field.fields), (*path, field.name))
        else:
            yield (*path, field.name), field
