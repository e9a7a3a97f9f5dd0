"""What a look at the source tells of its partitions."""

import warnings
from typing import Any

import pytest
from google.cloud import bigquery

from pipeline_runner.bigquery.source import Source, find_source

BY_TIME = {"type": "DAY", "field": "Usage_Start_Time"}


class Warehouse:
    """Describes one table, as the REST interface writes it."""

    def __init__(self, **written: object) -> None:
        self._written = written

    async def table(self, name: str, **_: str) -> bigquery.Table:
        columns = [bigquery.SchemaField("usage_start_time", "TIMESTAMP"), bigquery.SchemaField("day", "DATE")]
        return bigquery.Table.from_api_repr(
            {**bigquery.Table(name, columns).to_api_repr(), "location": "EU", **self._written}
        )


async def found(**written: object) -> Source:
    warehouse: Any = Warehouse(**written)
    return await find_source(warehouse, "p.d.t", "usage_start_time")


@pytest.mark.parametrize(
    ("written", "requires_filter", "by_ingestion"),
    [
        ({}, False, False),
        ({"timePartitioning": BY_TIME}, False, False),
        ({"timePartitioning": BY_TIME, "requirePartitionFilter": True}, True, False),
        ({"timePartitioning": BY_TIME, "requirePartitionFilter": False}, False, False),
        ({"timePartitioning": {**BY_TIME, "requirePartitionFilter": True}}, True, False),
        ({"timePartitioning": {"type": "DAY", "field": "day"}, "requirePartitionFilter": True}, False, False),
        ({"timePartitioning": {"type": "DAY"}, "requirePartitionFilter": True}, False, True),
        ({"rangePartitioning": {"field": "n", "range": {}}, "requirePartitionFilter": True}, False, False),
    ],
)
async def test_a_filter_on_the_time_is_required_where_the_table_is_partitioned_by_it(
    written: dict[str, Any], requires_filter: bool, by_ingestion: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source = await found(**written)
    assert (source.requires_filter, source.by_ingestion) == (requires_filter, by_ingestion)
    assert source.tells_undated is not requires_filter


@pytest.mark.parametrize(
    ("kind", "told"), [("TABLE", True), ("VIEW", False), ("MATERIALIZED_VIEW", False), ("EXTERNAL", False)]
)
async def test_rows_without_a_time_are_asked_for_in_tables(kind: str, told: bool) -> None:
    assert (await found(type=kind)).tells_undated is told
