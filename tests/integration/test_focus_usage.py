"""Tables of usage stay out of the cost view, whatever columns they have: each cost is in it once."""

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import pipeline_runner.processors as processors
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.columns import Column
from pipeline_runner.bigquery.focus_view import ensure_focus_view
from support.focus_scene import LINEAGE, RUN, FocusScene, anthropic_row, openai_row

DAY = date(2026, 11, 1)
ROWS = {"openai": openai_row(DAY, "1.25"), "anthropic": anthropic_row(DAY, "2.5")}
# What a provider may report of its usage one day, and a table of costs has.
PRICED = (Column("amount", "NUMERIC"), Column("currency", "STRING"))


@pytest.fixture
def scene(bigquery_settings: BigQuerySettings) -> FocusScene:
    return FocusScene(bigquery_settings)


def make_usage(scene: FocusScene, provider: str, *, priced: bool) -> None:
    """The provider's table of usage as its processor makes it, with a row; `priced`: with all that the view needs."""
    fields = json.loads((Path(processors.__path__[0]) / provider / "schemas" / "usage.json").read_text())
    columns = [*map(Column.from_api, fields), *LINEAGE, *(PRICED if priced else ())]
    row: dict[str, Any] = {name: ROWS[provider][name] for name in ("usage_date", "bucket_start", "bucket_end")} | RUN
    scene.make_table(f"{provider}_usage", columns, [row | ({"amount": "100", "currency": "USD"} if priced else {})])


@pytest.mark.parametrize("priced", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_usage_is_no_cost(scene: FocusScene, provider: str, priced: bool) -> None:
    make_usage(scene, provider, priced=priced)
    assert not await ensure_focus_view(scene.warehouse(), scene.dataset, "US"), "there is nothing to make a view of"
    scene.make_costs(provider, [ROWS[provider]])
    with capture_logs() as logs:
        assert await ensure_focus_view(scene.warehouse(), scene.dataset, "US")
    assert logs == [], "it isn't missed either"
    assert [each["BilledCost"] for each in scene.rows()] == [Decimal(ROWS[provider]["amount"])]
    assert "_usage" not in str(scene.client.get_table(scene.view).view_query)
