"""An organization's dataset with provider tables in it, as the processors make them, for tests of the cost view."""

import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

import pipeline_runner.processors as processors
from pipeline_core.focus.columns import COLUMNS
from pipeline_core.focus.view import VIEW
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local.quickstart import source
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.money import exact
from pipeline_runner.bigquery.warehouse import Identity, Warehouse

LINEAGE = (Column("run_id", "STRING"), Column("loaded_at", "TIMESTAMP"))
RUN = {"run_id": "run_test", "loaded_at": "2026-11-22T10:00:00Z"}
_numbers = itertools.count(1)


class FocusScene:
    """A new dataset; `org` is its organization."""

    def __init__(self, settings: BigQuerySettings) -> None:
        self.settings = settings
        self.client = bigquery_client(settings)
        self.org = f"focus{next(_numbers)}"
        self.dataset = f"{settings.project}.{self.org}_test"
        self.view = f"{self.dataset}.{VIEW}"
        self.client.create_dataset(self.dataset)

    def warehouse(self) -> Warehouse:
        """The warehouse of a new run."""
        return Warehouse(self.settings, Identity(self.org, f"run_{self.org}x{next(_numbers)}", "pod"))

    def make_export(self, export: pa.Table, table: str = "gcp_billing_costs", *, without: Sequence[str] = ()) -> None:
        """A copied billing export: amounts of money are NUMERIC, and each row says which run brought it."""
        columns = exact(tuple(Column.from_api(field.to_api_repr()) for field in source.schema()))
        kept = [column for column in columns if column.name not in without]
        self.make_table(table, [*kept, *LINEAGE], [])
        staged = f"{self.dataset}.staged_{table}"
        self._load_parquet(staged, export)
        values = [_value(column) for column in kept]
        names = ", ".join(column.name for column in kept)
        self.sql(
            f"INSERT INTO `{self.dataset}.{table}` ({names}, run_id, loaded_at) SELECT {', '.join(values)}, "
            f"'{RUN['run_id']}', TIMESTAMP '{RUN['loaded_at']}' FROM `{staged}`"
        )
        self.client.delete_table(staged)

    def make_costs(self, provider: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """`openai_costs` or `anthropic_costs`, with these rows; money in text."""
        fields = json.loads((Path(processors.__path__[0]) / provider / "schemas" / "costs.json").read_text())
        columns = [Column.from_api(field) for field in fields]
        self.make_table(f"{provider}_costs", [*columns, *LINEAGE], [dict(row) | RUN for row in rows])

    def make_table(self, name: str, columns: Iterable[Column], rows: Sequence[Mapping[str, Any]]) -> None:
        """A table with these rows."""
        schema = [bigquery.SchemaField.from_api_repr(column.to_api()) for column in columns]
        table = self.client.create_table(bigquery.Table(f"{self.dataset}.{name}", schema))
        if rows:
            lines = io.BytesIO("\n".join(map(json.dumps, rows)).encode())
            config = bigquery.LoadJobConfig(source_format="NEWLINE_DELIMITED_JSON", schema=schema)
            self.client.load_table_from_file(lines, table, job_config=config).result(timeout=60)

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement; its rows."""
        return [dict(row) for row in self.client.query(statement, job_retry=None).result(timeout=60)]

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the view; by its columns' names, which the stand-in gives in lower case."""
        result = self.client.query_and_wait(f"SELECT * FROM `{self.view}`")
        found = [(field.name.lower(), field.field_type) for field in result.schema]
        assert found == [(name.lower(), type_) for name, type_ in COLUMNS.items()]
        return [dict(zip(COLUMNS, row.values(), strict=True)) for row in result]

    def labels(self) -> dict[str, str]:
        """The view's labels; empty where there is no view."""
        try:
            return dict(self.client.get_table(self.view).labels)
        except NotFound:
            return {}

    def _load_parquet(self, name: str, export: pa.Table) -> None:
        self.client.create_table(bigquery.Table(name, source.schema()))
        parquet = io.BytesIO()
        pq.write_table(export, parquet)
        parquet.seek(0)
        lists = bigquery.ParquetOptions()
        lists.enable_list_inference = True
        config = bigquery.LoadJobConfig(source_format="PARQUET", schema=source.schema())
        config.parquet_options = lists
        self.client.load_table_from_file(parquet, name, job_config=config).result(timeout=60)


def openai_row(day: date, amount: str, *, line_item: str | None = "gpt-5, output", **more: Any) -> dict[str, Any]:
    """A row of `openai_costs`."""
    return _bucket(day) | {"project_id": "proj_1", "line_item": line_item, "quantity": "1500", "amount": amount} | more


def anthropic_row(day: date, amount: str, **more: Any) -> dict[str, Any]:
    """A row of `anthropic_costs`."""
    what = {
        "workspace_id": None,
        "description": "Claude Usage - Output Tokens",
        "cost_type": "tokens",
        "model": "claude",
    }
    return _bucket(day) | what | {"amount": amount} | more


def _bucket(day: date) -> dict[str, Any]:
    start, end = (f"{each}T00:00:00Z" for each in (day, day + timedelta(days=1)))
    return {"usage_date": str(day), "bucket_start": start, "bucket_end": end, "currency": "USD"}


def _value(column: Column) -> str:
    if column.type == "NUMERIC":
        return f"PARSE_NUMERIC(CAST({column.name} AS STRING))"
    if column.name == "credits":
        fields = ", ".join(
            f"PARSE_NUMERIC(CAST(c.{each.name} AS STRING)) AS {each.name}"
            if each.type == "NUMERIC"
            else f"c.{each.name}"
            for each in column.fields
        )
        return f"ARRAY(SELECT AS STRUCT {fields} FROM UNNEST(credits) AS c)"
    return column.name
