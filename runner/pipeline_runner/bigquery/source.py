"""A BigQuery table to read: found, described and checked before anything is copied."""

from dataclasses import dataclass

from pipeline_runner.bigquery.columns import Column, by_name, dotted, leaves, of_table
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.bigquery.sql import quoted
from pipeline_runner.bigquery.warehouse import Warehouse
from pipeline_runner.bigquery.window import TIME_TYPES, Window
from pipeline_runner.errors import ConfigError

READ_RIGHT = "bigquery.tables.get and bigquery.tables.getData on it (role BigQuery Data Viewer)"
# What Parquet can't bring back into a column of the same type.
_NOT_BY_FILE = frozenset({"GEOGRAPHY", "INTERVAL", "JSON"})


@dataclass(frozen=True)
class Source:
    """The table that a run reads.

    `time` is the column that says which day a row belongs to. `is_table` is False for views and external tables,
    which have no snapshots and can't be read by the Storage Read API. `by_ingestion`: partitioned by the time that
    rows came in, not by a column. `project` is the one that BigQuery names: a config may give a project's number.
    `requires_filter`: partitioned by `time`, and no query may leave open which of its partitions it reads.
    """

    name: str
    project: str
    location: str
    columns: tuple[Column, ...]
    time: Column
    is_table: bool
    by_ingestion: bool
    requires_filter: bool = False

    @property
    def tells_undated(self) -> bool:
        """Whether it is asked for rows that belong to no day, as their time is NULL.

        Views aren't, as they may scan anything for it. Nor are tables that require a filter: BigQuery isn't documented
        to take `IS NULL` as one. All others are. Where partitions are of no help, as the table has none or others than
        by its time, a copy scans all of each of its columns anyway, and this adds one column to that.
        """
        return self.is_table and not self.requires_filter

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
    by_time = partitioning is not None and (partitioning.field or "").lower() == time.name.lower()
    return Source(
        name=name,
        project=table.project,
        # the stand-in says only of datasets where they are
        location=table.location or await warehouse.dataset_location(name.rpartition(".")[0]),
        columns=columns,
        time=time,
        is_table=table.table_type in (None, "TABLE"),
        by_ingestion=partitioning is not None and partitioning.field is None,
        requires_filter=by_time and _requires_filter(table),
    )


def reads_by_query(wish: str, source: Source, location: str, *, own_identity: bool) -> bool:
    """Whether a query reads the source, and not the Storage Read API.

    `wish` is auto, query or storage, `location` the target's; `own_identity`: it isn't the installation that reads.
    Raises ConfigError where the wish can't be met.
    """
    same_place = source.location.upper() == location.upper()
    if wish == "query" and own_identity:
        raise ConfigError(
            "source.read is query, but the source is read with the organization's own service account: one query can't "
            "read with its rights and write with ours; set it to auto or storage"
        )
    if wish == "query" and not same_place:
        raise ConfigError(
            f"source.read is query, but {source.name} is in {source.location} and the target in {location}: "
            "a query works within one location; set it to auto or storage"
        )
    by_query = wish == "query" or (wish == "auto" and same_place and not own_identity)
    if not by_query and not source.is_table:
        raise ConfigError(
            f"{source.name} isn't a plain table; only a query within one location, with the installation's own rights, "
            "can read it"
        )
    for path in () if by_query else leaves(source.columns):
        if path[-1].type in _NOT_BY_FILE:
            raise ConfigError(
                f"column {dotted(path)} is {path[-1].type}, which the Storage Read API can't bring over; "
                "set source.read to query, with the source in the location of the target"
            )
    return by_query


def _requires_filter(table: bigquery.Table) -> bool:
    """Whether queries must filter by partition; BigQuery says so of the table, and formerly did of its partitioning."""
    written = table.to_api_repr()
    return bool(table.require_partition_filter or written.get("timePartitioning", {}).get("requirePartitionFilter"))
