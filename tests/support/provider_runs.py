"""Runs of the processors of providers' APIs: an organization's dataset, its key, and what must stand there."""

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
from google.cloud import bigquery

from pipeline_core.catalog.loader import load_catalog
from pipeline_core.resolve import resolve_run
from pipeline_core.run_document import RunDocument
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local.simulators.server import ANTHROPIC_KEY, OPENAI_KEY, Simulators
from pipeline_local.simulators.truth import Truth
from pipeline_runner.processors.anthropic import rows as anthropic
from pipeline_runner.processors.openai import rows as openai
from support.run_requests import run_request

CONFIGS = Path(__file__).parents[2] / "configs"
KEYS = {"openai": OPENAI_KEY, "anthropic": ANTHROPIC_KEY}
# What usage is told apart by; those of OpenAI are of different endpoints.
GROUPS = {
    "openai": frozenset(name for groups in openai.ENDPOINTS.values() for name in groups),
    "anthropic": frozenset(anthropic.USAGE_GROUP_BY),
}
# Columns that have another name than the provider's field.
_NAMES = {
    "cache_creation.ephemeral_1h_input_tokens": "cache_creation_1h_input_tokens",
    "cache_creation.ephemeral_5m_input_tokens": "cache_creation_5m_input_tokens",
    "server_tool_use.web_search_requests": "web_search_requests",
    "day": "usage_date",
    "start": "bucket_start",
    "end": "bucket_end",
}
# Those of lineage, and the fields that nobody has documented, are looked at by tests of their own.
_LEFT_OUT = ("run_id", "loaded_at", "further")
_numbers = itertools.count(1)

Row = Mapping[str, Any]


class Customer:
    """An organization with a new dataset, whose bills at one provider the simulators make up."""

    def __init__(self, settings: BigQuerySettings, provider: str, simulators: Simulators) -> None:
        number = next(_numbers)
        self.provider = provider
        self.simulators = simulators
        self.client = bigquery_client(settings)
        self.org = f"{provider}{number}"
        self.dataset = f"{settings.project}.{self.org}_test"
        made = bigquery.Dataset(self.dataset)
        made.location = "US"
        self.client.create_dataset(made)

    def document(
        self, run_id: str = "", *, source: Mapping[str, object] | None = None, **parameters: str
    ) -> RunDocument:
        """The run document as the operator would resolve it, of the repository's own config; `source` changes it."""
        url = self.simulators.openai_url if self.provider == "openai" else self.simulators.anthropic_url
        request = run_request(
            f"{self.provider}/cost/usage_cost",
            run_id=run_id or f"run_{self.org}x{next(_numbers)}",
            org_slug=self.org,
            parameters=parameters,
            logical_time=datetime.now(UTC),
        )
        settings = {f"{self.provider}_base_url": url}
        document = resolve_run(load_catalog(CONFIGS), request, env="test", integration=settings)
        document.config["source"] |= source or {}
        return document

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """Run a statement; its rows."""
        return [dict(each) for each in self.client.query(statement, job_retry=None).result(timeout=60)]

    def tables(self) -> set[str]:
        """The names of the tables in the organization's dataset."""
        return {table.table_id for table in self.client.list_tables(self.dataset)}

    def rows(self, table: str) -> list[dict[str, Any]]:
        """What stands in a table, `costs` or `usage`, lineage included."""
        return self.sql(f"SELECT * FROM `{self.dataset}.{self.provider}_{table}`")

    def truth(self, first: date, last: date, *, bucket_width: str = "1d") -> Truth:
        """What the provider has of these days."""
        provider: Any = self.provider
        groups = GROUPS[self.provider]
        return self.simulators.truth(provider, first, last, bucket_width=bucket_width, group_by=groups)


def customer_with_key(
    settings: BigQuerySettings, provider: str, simulators: Simulators, folder: Path, environment: pytest.MonkeyPatch
) -> Customer:
    """A new one, whose key the runs of this test find in a folder; the simulators begin anew."""
    simulators.reset()
    (folder / "api_key").write_text(KEYS[provider] + "\n")
    environment.setenv("PIPELINES_CREDENTIALS_DIRECTORY", str(folder))
    environment.setenv("PIPELINES_API_HOSTS", "http://127.0.0.1:*")
    return Customer(settings, provider, simulators)


def same_rows(found: Sequence[Row], expected: Sequence[Row]) -> None:
    """Assert that a table holds exactly the truth's rows, each as often as there: all values, to the last digit."""
    there, wanted = Counter(_key(each) for each in found), Counter(_key(_named(each)) for each in expected)
    assert there - wanted == Counter(), "rows that shouldn't be there"
    assert wanted - there == Counter(), "rows that are missing"


def total(rows: Sequence[Row], column: str) -> Decimal:
    """The exact sum of a column."""
    with localcontext(prec=60):
        return sum((each[column] for each in rows if each[column] is not None), Decimal(0))


def _named(row: Row) -> dict[str, Any]:
    currency = {"currency": "USD"} if "amount" in row else {}
    return {_NAMES.get(name, name): value for name, value in row.items() if name != "cents"} | currency


def _key(row: Row) -> str:
    """A row as text: the columns that have a value, amounts as NUMERIC holds them."""
    return json.dumps(
        {name: _written(value) for name, value in row.items() if value is not None and name not in _LEFT_OUT},
        sort_keys=True,
    )


def _written(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return str(value)
    with localcontext(prec=60, rounding=ROUND_HALF_UP):
        return format(Decimal(value).quantize(Decimal("0.000000001")), "f")
