"""Keeps organizations apart: what a run may read in the installation's own project is its own dataset alone.

The runner may read every organization's dataset, so a source that leads there would show one organization the bills of
another: by its name, or as a view in the customer's project that selects from there, which BigQuery reads with the
runner's rights.
"""

from collections.abc import Iterable

from pipeline_runner.bigquery.config import CopyConfig
from pipeline_runner.bigquery.library import bigquery
from pipeline_runner.errors import ConfigError

# https://cloud.google.com/bigquery/docs/reference/rest/v2/Job#JobStatistics2: beyond these the list isn't complete.
_LISTED_TABLES = 50


def check_source(ours: str, config: CopyConfig, project: str) -> None:
    """Refuse a source in another organization's dataset. `ours` is the installation's project.

    `project` is the source's as BigQuery names it: a config may give its number. Raises ConfigError.
    """
    if project.lower() == ours.lower() and config.source.dataset != config.target.dataset:
        raise ConfigError(
            f"source.dataset: {config.source.project}.{config.source.dataset} belongs to another organization; in the "
            f"installation's own project, expected {config.target.dataset}"
        )


def check_references(ours: str, dataset: str, source: str, tables: Iterable[bigquery.TableReference]) -> None:
    """Refuse a view that reads another organization's tables: `tables` are what BigQuery says that a query reads.

    `ours` is the installation's project, `dataset` the organization's own within it, `source` the view. Raises
    ConfigError, naming both.
    """
    listed = list(tables)
    for table in listed:
        if table.project.lower() == ours.lower() and table.dataset_id != dataset:
            raise ConfigError(
                f"source.table: the view {source} reads {table.project}.{table.dataset_id}.{table.table_id}, which "
                f"belongs to another organization; in the installation's own project it may read {dataset} only"
            )
    if len(listed) >= _LISTED_TABLES:
        raise ConfigError(
            f"source.table: the view {source} reads {_LISTED_TABLES} tables or more, and BigQuery lists no more of "
            "them, so that it can't be seen whose they are; expected a view of fewer tables"
        )
