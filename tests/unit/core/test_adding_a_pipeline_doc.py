"""The examples of docs/adding-a-pipeline.md are valid, and its tables name what exists."""

import re
import shutil
import textwrap
from pathlib import Path

import pytest
import yaml

from pipeline_core.catalog.loader import load_catalog
from pipeline_core.parameter_types import ParameterType
from pipeline_core.templates import BUILT_INS

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/adding-a-pipeline.md").read_text()


@pytest.fixture
def examples() -> list[str]:
    return [textwrap.dedent(block) for block in re.findall(r"^ *```yaml\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)]


def test_the_step_by_step_example_loads_beside_the_repositorys_own_configs(examples, tmp_path):
    setting, config, *_ = examples
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    registry = tmp_path / "configs/system/providers.yml"
    providers = yaml.safe_load(registry.read_text())
    providers["providers"]["gcp"]["settings"] |= yaml.safe_load(setting)["settings"]
    registry.write_text(yaml.safe_dump(providers))
    (tmp_path / "configs/gcp/cost/pricing.yml").write_text(config)
    catalog = load_catalog(tmp_path / "configs")
    assert catalog.get("gcp", "cost", "gcp_pricing").stem == "pricing"
    assert len(catalog.pipelines) == len(load_catalog(REPOSITORY / "configs").pipelines) + 1
    assert f"configs is valid: {len(catalog.pipelines)} pipeline configs" in PAGE


def test_the_checks_example_fits_a_pipeline_of_two_tables(examples, tmp_path):
    shutil.copytree(REPOSITORY / "configs", tmp_path / "configs")
    path = tmp_path / "configs/openai/cost/usage_cost.yml"
    content = {**yaml.safe_load(path.read_text()), **yaml.safe_load(examples[3])}
    path.write_text(yaml.safe_dump(content))
    assert load_catalog(tmp_path / "configs").get("openai", "cost", "usage_cost").content.checks is not None


def test_the_parameters_example_is_valid(examples, folder):
    folder.write_smallest("demo/test/noop.yml", provider="demo", domain="test", name="noop", more=examples[2])
    assert list(load_catalog(folder.root).get("demo", "test", "noop").content.parameters) == ["region", "limit"]


def test_every_type_and_built_in_has_its_row():
    for kind in ParameterType:
        assert f"| `{kind.value}` |" in PAGE
    for name in BUILT_INS:
        assert f"`{{{{{name}}}}}`" in PAGE
