"""A BigQuery table to read: found, described and checked before anything is copied."""

from dataclasses import dataclass

from pipeline_runner.bigquery.columns import Column, by_name, of_table
from pipeline_runner.bigquery.sql import quoted
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.bigquery.window import TIME_TYPES, Window
from pipeline_runner.errors import ConfigError

READ_RIGHT = "bigquery.tables.get and bigquery.tables.getData on it (role BigQuery Data Viewer)"


@dataclass(frozen=True)
class Source:
    """The table that a run reads.

    `time` is the column that says which day a row belongs to. `is_table` is False for views and external tables,
    which have no snapshots and can't be read by the Storage Read API. `by_ingestion`: partitioned by the time that
    rows came in, not by a column. `project` is the one that BigQuery names: a config may give a project's number.
    """

    name: str
    project: str
    location: str
    columns: tuple[Column, ...]
    time: Column
    is_table: bool
    by_ingestion: bool

    @property
    def path(self) -> str:
        """The name as the Storage Read API writes it."""
        project, dataset, table = self.name.rsplit(".", 2)
        return f"projects/{project}/datasets/{dataset}/tables/{table}"

    def condition(self, *windows: Window) -> str:
        """An SQL condition: the row belongs to one of the windows."""
        inside = [window.contains(quoted(self.time.name), self.time.type) for window in windows]
        return inside[0] if len(inside) == 1 else f"({' OR '.join(f'({each})' for each in inside)})"


async def find_source(warehouse: Warehouse, name: str, time_column: str) -> Source:
    """Look the table up. Raises ConfigError if it isn't there, can't be read, or lacks the time column."""
    table = await warehouse.table(name, what="source table", right=READ_RIGHT)
    if table is None:
        raise ConfigError(f"source table {name} doesn't exist")
    columns = of_table(table)
    time = by_name(columns).get(time_column.lower())
    if time is None or time.repeated or time.type not in TIME_TYPES:
        found = "there is none" if time is None else f"it is {time.kind}"
        raise ConfigError(
            f"source.time_column: {name} should have a column {time_column} of type {', '.join(TIME_TYPES)}; {found}"
        )
    partitioning = table.time_partitioning
    return Source(
        name=name,
        project=table.project,
        # the stand-in says only of datasets where they are
        location=table.location or await warehouse.dataset_location(name.rpartition(".")[0]),
        columns=columns,
        time=time,
        is_table=table.table_type in (None, "TABLE"),
        by_ingestion=partitioning is not None and partitioning.field is None,
    )
