"""In the installation's own project a run reads its organization's dataset alone, by name or behind a view."""

from collections.abc import Sequence
from typing import Any

import pytest
from google.cloud import bigquery

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.config import CopyConfig
from pipeline_runner.bigquery.planning import make_plan
from pipeline_runner.bigquery.tenancy import check_references
from pipeline_runner.bigquery.window import Window
from pipeline_runner.errors import ConfigError

WINDOW = Window.from_parameters({"date": "2026-11-01"})
CONFIG = CopyConfig.read(
    {
        "source": {"type": "bigquery", "project": "customer", "dataset": "billing", "table": "export"},
        "target": {"dataset": "acme_prod", "table": "costs"},
    }
)


def references(*names: str) -> list[bigquery.TableReference]:
    return [bigquery.TableReference.from_string(name) for name in names]


class Warehouse:
    """A customer's source of some kind, and what BigQuery says that a query of it reads."""

    settings = BigQuerySettings(project="ours")

    def __init__(self, kind: str, *reads: str) -> None:
        self._kind = kind
        self._reads = references(*reads)
        self.looked: list[str] = []

    async def dataset_location(self, _name: str) -> str:
        return "US"

    async def table(self, name: str, **_: str) -> bigquery.Table | None:
        if name == "ours.acme_prod.costs":
            return None
        table = bigquery.Table(name, [bigquery.SchemaField("usage_start_time", "TIMESTAMP")]).to_api_repr()
        return bigquery.Table.from_api_repr({**table, "type": self._kind, "location": "US"})

    async def dry_run(self, statement: str, **_: str) -> tuple[int, Sequence[bigquery.TableReference]]:
        self.looked.append(statement)
        return 0, self._reads


async def plan(warehouse: Any) -> None:
    await make_plan(
        warehouse, CONFIG, WINDOW, time_column="usage_start_time", cluster_by=frozenset(), narrowed=lambda *_: ""
    )


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED_VIEW", "EXTERNAL"])
@pytest.mark.parametrize("table", ["ours.globex_prod.costs", "OURS.organizations.pipeline_runs"])
async def test_a_view_of_another_organizations_table_is_refused_by_both_names(kind: str, table: str) -> None:
    warehouse = Warehouse(kind, "customer.billing.export_2025", table)
    with pytest.raises(ConfigError, match="belongs to another organization") as refused:
        await plan(warehouse)
    assert "customer.billing.export" in str(refused.value)
    assert table in str(refused.value)
    assert warehouse.looked == ["SELECT * FROM `customer.billing.export`"]


@pytest.mark.parametrize("reads", [(), ("customer.billing.a", "other.globex_prod.b"), ("ours.acme_prod.costs",)])
async def test_a_view_of_the_customers_or_the_organizations_own_tables_is_read(reads: tuple[str, ...]) -> None:
    warehouse = Warehouse("VIEW", *reads)
    await plan(warehouse)
    assert len(warehouse.looked) == 1


async def test_a_plain_table_needs_no_look_behind_it() -> None:
    warehouse = Warehouse("TABLE", "ours.globex_prod.costs")
    await plan(warehouse)
    assert warehouse.looked == []


def test_a_list_that_may_be_incomplete_is_refused() -> None:
    names = [f"customer.billing.t{number}" for number in range(50)]
    check_references("ours", "acme_prod", "customer.billing.v", references(*names[:49]))
    with pytest.raises(ConfigError, match="reads 50 tables or more"):
        check_references("ours", "acme_prod", "customer.billing.v", references(*names))
