"""The customer's side of the quick start: a project of theirs with a billing export in it."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from google.cloud import bigquery

from pipeline_local.quickstart.price_list import BILLING_ACCOUNT

PROJECT = "acme-billing"
DATASET = "billing"
# Google writes the account's hyphens as underscores.
TABLE = f"gcp_billing_export_v1_{BILLING_ACCOUNT.replace('-', '_')}"
SETTINGS = {"billing_project_id": PROJECT, "billing_dataset_id": DATASET, "billing_table": TABLE}
"""The integration settings that lead a pipeline to it."""

_SCHEMA = Path(__file__).with_name("billing_export.json")
_TIMEOUT_SECONDS = 120.0


def full_name() -> str:
    """The table, as a query names it between backticks."""
    return f"{PROJECT}.{DATASET}.{TABLE}"


def schema() -> list[bigquery.SchemaField]:
    """The columns of a standard usage cost export."""
    return [bigquery.SchemaField.from_api_repr(field) for field in json.loads(_SCHEMA.read_text())]


def load(client: bigquery.Client, export: pa.Table) -> None:
    """Put the export where Google would have written it, in place of what stood there.

    Raises google.api_core.exceptions.GoogleAPICallError when the load fails.
    """
    client.create_dataset(bigquery.DatasetReference(PROJECT, DATASET), exists_ok=True, timeout=_TIMEOUT_SECONDS)
    table = bigquery.Table(full_name(), schema=schema())
    # by the time of writing, as Google's is, not by a column
    table.time_partitioning = bigquery.TimePartitioning(type_=bigquery.TimePartitioningType.DAY)
    client.create_table(table, exists_ok=True, timeout=_TIMEOUT_SECONDS)
    parquet = io.BytesIO()
    pq.write_table(export, parquet, compression="zstd")
    parquet.seek(0)
    lists = bigquery.ParquetOptions()
    lists.enable_list_inference = True
    configuration = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        schema=schema(),
    )
    configuration.parquet_options = lists
    job = client.load_table_from_file(
        parquet, full_name(), project=PROJECT, job_config=configuration, timeout=_TIMEOUT_SECONDS
    )
    job.result(timeout=_TIMEOUT_SECONDS)
