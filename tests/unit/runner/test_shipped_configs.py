"""The configs that are shipped start at different minutes, and have no check that nothing could ever fail."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs"
PROCESSORS = ROOT / "runner" / "pipeline_runner" / "processors"
APIS = {"openai": "openai/cost/usage_cost.yml", "anthropic": "anthropic/usage_cost.yml"}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def minutes(cron: str) -> set[int]:
    """The minutes of an hour that a cron expression of the shipped configs names."""
    return {int(each) for each in cron.split()[0].split(",")}


def test_no_two_pipelines_start_in_the_same_minute() -> None:
    crons = {path: read(path).get("schedule", {}).get("default_cron") for path in CONFIGS.rglob("*.yml")}
    scheduled = {path.relative_to(CONFIGS): minutes(cron) for path, cron in crons.items() if cron}
    assert len(scheduled) >= 4
    for one, other in combinations(scheduled, 2):
        assert not scheduled[one] & scheduled[other], f"{one} and {other} start together"


@pytest.mark.parametrize("provider", APIS)
def test_the_checks_are_about_columns_that_may_be_wrong(provider: str) -> None:
    checks = read(CONFIGS / APIS[provider])["checks"]
    schema = json.loads((PROCESSORS / provider / "schemas" / "costs.json").read_text())
    modes = {field["name"]: field["mode"] for field in schema}
    # a row without a column that is required never comes as far as the checks
    assert {modes[name] for name in checks["not_null_proportion"]} == {"NULLABLE"}
