"""What is particular to Google Cloud's billing export, beside any other BigQuery table that is copied by days."""

from datetime import timedelta

from pipeline_runner.bigquery.columns import by_name
from pipeline_runner.bigquery.source import Source
from pipeline_runner.bigquery.window import Window

TIME_COLUMN = "usage_start_time"
CLUSTER_BY = frozenset({"billing_account_id"})
# Columns by which an export is known, and how long before the day of their usage its rows may be written.
_COLUMNS = frozenset({"billing_account_id", TIME_COLUMN, "export_time"})
_SLACK = timedelta(days=35)


def ingested_since(source: Source, window: Window) -> str:
    """For a billing export: leaves out partitions that can't hold the window's rows.

    The export is partitioned by the day that Google wrote a row, which comes after its usage: without this every run
    would scan the whole export. It is assumed that no row is written more than 35 days before the day that its
    `usage_start_time` names: charges are dated ahead within their month. The slack is counted from the first day that
    the run looks at, so that such a row is seen wherever its day stands in a window. Rows that come late are always
    found, and those that were written just now have no partition yet.
    """
    if not source.by_ingestion or source.time.name != TIME_COLUMN or not by_name(source.columns).keys() >= _COLUMNS:
        return ""
    since = Window.literal(window.first - _SLACK, "TIMESTAMP")
    return f"(_PARTITIONTIME >= {since} OR _PARTITIONTIME IS NULL)"
