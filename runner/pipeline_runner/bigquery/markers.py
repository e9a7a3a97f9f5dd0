"""The tables beside the targets by which runs know what was published, and by which publishers exclude each other.

A row of `_pipelines_commits` is written in the transaction that publishes: a run that is tried again finds it, and the
operator's exporter asks for it where a run's end was lost. `_pipelines_locks` has a row for each target, which every
publisher of it changes first: two inserts into an empty day don't conflict in BigQuery, two changes of one row do.
"""

from datetime import timedelta

from pipeline_core import identifiers
from pipeline_runner.bigquery.columns import Column, fields
from pipeline_runner.bigquery.library import bigquery

COMMITS = identifiers.COMMITS_TABLE
LOCKS = "_pipelines_locks"
# A marker is needed as long as its run may be tried again, and to know which days were published before a long pause.
COMMITS_KEPT = timedelta(days=400)
COMMITS_SCHEMA = (
    Column("run_id", "STRING", description="The run that published."),
    Column("target", "STRING", description="The table that it published into."),
    Column("window_start", "DATE", description="First day that was replaced; NULL if none was."),
    Column("window_end", "DATE", description="Last day that was replaced, itself included; NULL if none was."),
    Column("row_count", "INTEGER", description="Rows of the window since then."),
    Column("committed_at", "TIMESTAMP", description="When the transaction was made."),
    Column("read_at", "TIMESTAMP", description="When the source was read, or a moment before; NULL if not known."),
)
LOCKS_SCHEMA = (
    Column("target", "STRING", description="The table whose publishers conflict on this row."),
    Column("run_id", "STRING", description="The run that published last."),
    Column("locked_at", "TIMESTAMP", description="When it did."),
)


def commits_table(name: str) -> bigquery.Table:
    """The table of commit markers, as it is made."""
    table = bigquery.Table(name, fields(COMMITS_SCHEMA))
    kept = COMMITS_KEPT // timedelta(milliseconds=1)
    table.time_partitioning = bigquery.TimePartitioning(
        bigquery.TimePartitioningType.DAY, field="committed_at", expiration_ms=kept
    )
    table.clustering_fields = ["run_id"]
    return table


def locks_table(name: str) -> bigquery.Table:
    """The table of locks, as it is made."""
    return bigquery.Table(name, fields(LOCKS_SCHEMA))
