"""Billing exports for tests: tables in a customer's project, an organization's dataset, and runs between them."""

import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from google.cloud import bigquery

from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client

CUSTOMER = "customer-billing"
SCHEMA = (
    {"name": "billing_account_id", "type": "STRING"},
    {"name": "usage_start_time", "type": "TIMESTAMP"},
    {"name": "export_time", "type": "TIMESTAMP"},
    {"name": "cost", "type": "FLOAT"},
    {"name": "currency_conversion_rate", "type": "FLOAT"},
    {"name": "project", "type": "RECORD", "fields": [
        {"name": "id", "type": "STRING"},
        {"name": "labels", "type": "RECORD", "mode": "REPEATED", "fields": [
            {"name": "key", "type": "STRING"}, {"name": "value", "type": "STRING"}]}]},
    {"name": "credits", "type": "RECORD", "mode": "REPEATED", "fields": [
        {"name": "name", "type": "STRING"}, {"name": "amount", "type": "FLOAT"}]},
    {"name": "tags", "type": "STRING", "mode": "REPEATED"},
)  # fmt: skip
_numbers = itertools.count(1)


def row(day: str, cost: str, *, time: str = "12:00:00", credits: str = "[]", project: str = "NULL") -> str:  # noqa: A002
    """The values of one row, as SQL; `cost` and `credits` are expressions."""
    return (
        f"('account', TIMESTAMP '{day} {time}+00', TIMESTAMP '{day} 23:00:00+00', {cost}, 1.25, {project}, {credits}, "
        "['a', 'b'])"
    )


class Billing:
    """A customer's export and an organization's dataset, both new, in the BigQuery that the settings lead to."""

    def __init__(self, settings: BigQuerySettings, *, source_location: str = "US") -> None:
        number = next(_numbers)
        self.client = bigquery_client(settings)
        self.org = f"org{number}"
        self.source_dataset = f"{CUSTOMER}.billing_{number}"
        self.dataset = f"{settings.project}.{self.org}_test"
        for name, location in ((self.source_dataset, source_location), (self.dataset, "US")):
            made = bigquery.Dataset(name)
            made.location = location
            self.client.create_dataset(made)
        self.source = f"{self.source_dataset}.export"
        self.target = f"{self.dataset}.costs"

    def make_source(self, rows: Iterable[str] = (), schema: Iterable[Mapping[str, Any]] = SCHEMA) -> None:
        """The export's table, partitioned by ingestion as the real one, with these rows."""
        table = bigquery.Table(self.source, [bigquery.SchemaField.from_api_repr(dict(each)) for each in schema])
        table.time_partitioning = bigquery.TimePartitioning()
        self.client.create_table(table)
        self.add(rows)

    def add(self, rows: Iterable[str]) -> None:
        """More rows in the export."""
        names = ", ".join(str(each["name"]) for each in SCHEMA)
        if values := ", ".join(rows):
            self.sql(f"INSERT INTO `{self.source}` ({names}) VALUES {values}")

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement; its rows."""
        return [dict(each) for each in self.client.query(statement, job_retry=None).result(timeout=60)]

    def rows(self, columns: str = "*", *, order: str = "usage_start_time, cost") -> list[dict[str, Any]]:
        """What stands in the target."""
        return self.sql(f"SELECT {columns} FROM `{self.target}` ORDER BY {order}")

    def costs(self) -> list[Decimal]:
        """The costs in the target."""
        return [each["cost"] for each in self.rows("usage_start_time, cost")]

    def tables(self) -> set[str]:
        """The names of the tables in the organization's dataset."""
        return {table.table_id for table in self.client.list_tables(self.dataset)}

    def document(
        self, run_id: str = "", *, read: str | None = None, processor: str = "", **parameters: str
    ) -> RunDocument:
        """The run document of a copy of these days."""
        module = "pipeline_runner.processors.gcp.external_bq_extractor"
        project, dataset, table = self.source.split(".")
        source = {"type": "bigquery", "project": project, "dataset": dataset, "table": table}
        return RunDocument(
            run_id=run_id or f"run_{self.org}x{next(_numbers)}",
            org_slug=self.org,
            env="test",
            provider="gcp",
            domain="cost",
            pipeline="billing",
            logical_time=datetime.now(UTC),
            parameters=dict(parameters),
            config={
                "processor": {"class": processor or "ExternalBQExtractor", "module": module},
                "source": source | ({"read": read} if read else {}),
                "target": {"type": "bigquery", "dataset": f"{self.org}_test", "table": "costs"},
            },
            timeout_seconds=600,
            max_retries=0,
        )
