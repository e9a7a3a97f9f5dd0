"""The generated export reaches the customer's project whole, to the last digit of its money."""

from collections import defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from google.cloud import bigquery

from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local.quickstart import source
from pipeline_local.quickstart.export import billing_export

LAST_DAY = date(2026, 11, 21)


@pytest.fixture(scope="module")
def client(bigquery: object) -> bigquery.Client:
    return bigquery_client(BigQuerySettings())


def test_daily_sums_of_the_table_are_those_of_the_generated_rows(client: bigquery.Client) -> None:
    export = billing_export(LAST_DAY, rows_per_day=800)
    source.load(client, export)
    assert _table(client) == _expected(export.select(["usage_start_time", "cost", "credits"]).to_pylist())


def test_loading_again_replaces_what_stood_there(client: bigquery.Client) -> None:
    export = billing_export(LAST_DAY, days=2, rows_per_day=200)
    source.load(client, export)
    source.load(client, export)
    assert client.get_table(source.full_name()).num_rows == export.num_rows
    assert client.get_table(source.full_name()).schema == source.schema()


def _table(client: bigquery.Client) -> dict[date, tuple[int, Decimal, Decimal]]:
    query = f"""
        SELECT DATE(usage_start_time) AS day, COUNT(*) AS records, SUM(PARSE_NUMERIC(CAST(cost AS STRING))) AS cost,
          SUM((SELECT SUM(PARSE_NUMERIC(CAST(c.amount AS STRING))) FROM UNNEST(credits) c)) AS credits
        FROM `{source.full_name()}` GROUP BY day"""
    return {row["day"]: (row["records"], row["cost"], row["credits"]) for row in client.query_and_wait(query)}


def _expected(rows: list[dict[str, Any]]) -> dict[date, tuple[int, Decimal, Decimal]]:
    sums: dict[date, tuple[int, Decimal, Decimal]] = defaultdict(lambda: (0, Decimal(0), Decimal(0)))
    for row in rows:
        records, cost, credits_ = sums[row["usage_start_time"].date()]
        given = sum((_numeric(credit["amount"]) for credit in row["credits"]), Decimal(0))
        sums[row["usage_start_time"].date()] = (records + 1, cost + _numeric(row["cost"]), credits_ + given)
    return dict(sums)


def _numeric(value: float) -> Decimal:
    """What PARSE_NUMERIC makes of the float's shortest decimal: nine places, halves away from zero."""
    return Decimal(repr(value)).quantize(Decimal("1e-9"), ROUND_HALF_UP)
