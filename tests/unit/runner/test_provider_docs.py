"""docs/providers describes every column of the tables that API processors write, as the schemas have them."""

import json
import re
from pathlib import Path

import pytest

from pipeline_runner.processors.anthropic import rows as anthropic
from pipeline_runner.processors.api_results import ResultReader
from pipeline_runner.processors.openai import rows as openai

ROOT = Path(__file__).parents[3]
PROCESSORS = ROOT / "runner" / "pipeline_runner" / "processors"
OF_THE_BUCKET = ["usage_date", "bucket_start", "bucket_end"]
_NEVER_NULL = {"REQUIRED": ", never NULL", "NULLABLE": ""}
TABLES = ["openai_costs", "openai_usage", "anthropic_costs", "anthropic_usage"]


def page(provider: str) -> str:
    return (ROOT / "docs" / "providers" / f"{provider}.md").read_text()


def section(provider: str, title: str) -> str:
    return re.split(r"\n#{2,3} ", page(provider).split(f"\n### {title}\n", 1)[1], maxsplit=1)[0]


def schema(table: str) -> list[dict[str, str]]:
    provider, kind = table.split("_")
    fields: list[dict[str, str]] = json.loads((PROCESSORS / provider / "schemas" / f"{kind}.json").read_text())
    return fields


@pytest.mark.parametrize("table", TABLES)
def test_the_page_has_each_column_as_the_schema_has_it(table: str) -> None:
    described = section(table.split("_")[0], table).split("| column | type | meaning |\n| --- | --- | --- |\n")[1]
    expected = [
        f"| `{field['name']}` | {field['type']}{_NEVER_NULL[field['mode']]} | {field['description']} |"
        for field in schema(table)
    ]
    assert described.strip().split("\n\n")[0].splitlines() == expected


@pytest.mark.parametrize(
    ("table", "reader", "result"),
    [
        ("openai_costs", openai.COSTS, {"amount": {"value": 1, "currency": "usd"}}),
        *(("openai_usage", openai.usage(endpoint), {}) for endpoint in openai.ENDPOINTS),
        ("anthropic_costs", anthropic.COSTS, {"amount": "1", "currency": "USD"}),
        ("anthropic_usage", anthropic.USAGE, {}),
    ],
)
def test_a_row_has_the_schemas_columns(table: str, reader: ResultReader, result: dict[str, object]) -> None:
    assert sorted([*OF_THE_BUCKET, *reader.read(result)]) == sorted(field["name"] for field in schema(table))


def test_the_page_says_by_what_each_endpoint_is_grouped() -> None:
    described = dict(
        re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|$", section("openai", "openai_usage"), re.MULTILINE)
    )
    expected = {endpoint: ", ".join(f"`{name}`" for name in groups) for endpoint, groups in openai.ENDPOINTS.items()}
    assert described == expected
