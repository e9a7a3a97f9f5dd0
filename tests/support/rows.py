"""Runs that load rows of their own into an organization's dataset in the BigQuery stand-in."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from google.cloud import bigquery as google

from pipeline_core.catalog.checks import TableChecks
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_runner.bigquery import sql
from pipeline_runner.bigquery.columns import Column, by_name
from pipeline_runner.bigquery.evolution import fitted
from pipeline_runner.bigquery.publishing import WRITE_RIGHT, Publication, Publisher, Target
from pipeline_runner.bigquery.rows import RowStaging, RowTable
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.bigquery.window import Window

DAY = date(2026, 11, 1)
COSTS = RowTable(
    "costs",
    "api_costs",
    (
        Column("usage_date", "DATE"),
        Column("at", "TIMESTAMP"),
        Column("name", "STRING"),
        Column("calls", "INTEGER"),
        Column("batch", "BOOLEAN"),
        Column("amount", "NUMERIC"),
        Column("tags", "STRING", repeated=True),
        Column("further", "JSON"),
    ),
    "usage_date",
    cluster_by=("name",),
    description="What the API costs.",
)
USAGE = RowTable("usage", "api_usage", (Column("usage_date", "DATE"), Column("calls", "INTEGER")), "usage_date")
_numbers = itertools.count(1)

Rows = Mapping[str, Iterable[Mapping[str, object]]]


class Loads:
    """An organization's dataset, and loads into it as a processor makes them."""

    def __init__(self, settings: BigQuerySettings, tables: Sequence[RowTable] = (COSTS, USAGE)) -> None:
        self.settings = settings
        self.tables = {table.key: table for table in tables}
        self.client = bigquery_client(settings)
        self.dataset = f"{settings.project}.rows{next(_numbers)}_test"
        self.client.create_dataset(google.Dataset(self.dataset))

    def target(self, key: str, columns: tuple[Column, ...] = ()) -> Target:
        table = self.tables[key]
        day = by_name(columns or table.columns)[table.day]
        return Target(f"{self.dataset}.{table.name}", day, "US", table.cluster_by, table.description, key)

    async def load(
        self, rows: Rows, *, run_id: str = "", attempt: str = "a", windows: Sequence[Window] = (Window(DAY, DAY),),
        checks: Mapping[str, TableChecks] | None = None, publishing: type[Publisher] = Publisher,
    ) -> int:  # fmt: skip
        """One attempt at a run, from the look at its marker to the publish; the rows that it has published."""
        run_id = run_id or f"run_r{next(_numbers)}"
        warehouse = Warehouse(self.settings, Identity("acme", run_id, attempt))
        targets = {key: self.target(key) for key in self.tables}
        publisher = publishing(warehouse, list(targets.values()), run_id)
        before = await publisher.committed_rows("marker_before")
        if before is not None:
            return before
        days = [day for each in windows for day in (each.first, each.last)]
        whole = [Window(min(days), max(days))] if days else []
        staging = RowStaging(
            warehouse, self.dataset, f"{run_id}_{attempt}", list(self.tables.values()), location="US",
            checks=checks,
        )  # fmt: skip
        staging.keep_to(whole)
        try:
            await staging.open()
            for key, each in rows.items():
                await staging.add(key, each)
            counted = await staging.finish()
            prepared, publications = [], []
            for key, target in targets.items():
                existing = await warehouse.table(target.name, what="target table", right=WRITE_RIGHT)
                columns = self.tables[key].columns
                merged = await fitted(warehouse, existing, columns, f"`{staging.table(key)}` AS s", "US")
                values = sql.copied_columns(columns, merged)
                figures = counted[key]
                prepared.append((target, existing, columns))
                publications.append(
                    Publication(
                        self.target(key, merged), staging.table(key), values, tuple(windows), figures.rows,
                        figures.read_at, moving=tuple(windows),
                    )
                )  # fmt: skip
            await publisher.prepare(prepared)
            return await publisher.commit(publications)
        finally:
            await staging.drop()

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement; its rows."""
        return [dict(each) for each in self.client.query(statement, job_retry=None).result(timeout=60)]

    def rows(self, key: str = "costs", columns: str = "* EXCEPT (run_id, loaded_at)") -> list[dict[str, Any]]:
        """What stands in a target."""
        return self.sql(f"SELECT {columns} FROM `{self.dataset}.{self.tables[key].name}`")

    def names(self) -> set[str]:
        """The names of the tables in the dataset."""
        return {table.table_id for table in self.client.list_tables(self.dataset)}

    def columns(self, key: str) -> list[str]:
        """The names of a target's columns, in order, by a query: the stand-in's own account of it lags."""
        statement = f"SELECT * FROM `{self.dataset}.{self.tables[key].name}` LIMIT 0"
        return [each.name for each in self.client.query(statement, job_retry=None).result(timeout=60).schema]
