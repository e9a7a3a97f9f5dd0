"""Valid catalogs load: the specification's file, the repository's own, paths without a domain, ConfigMap volumes."""

from pathlib import Path

import pytest

from pipeline_core.catalog.loader import load_catalog
from pipeline_core.catalog.problems import CatalogInvalidError
from pipeline_core.errors import PipelineNotFoundError, UnknownProviderError
from pipeline_core.resolve import resolve_run
from support.run_requests import run_request

REPOSITORY = Path(__file__).parents[3]


def test_the_specifications_example_loads_unmodified_and_names_the_real_module(folder):
    config = load_catalog(folder.root).get("gcp", "cost", "billing")
    assert (config.key, config.path) == ("gcp/cost/billing", "gcp/cost/billing.yml")
    assert config.content.processor.class_name == "ExternalBQExtractor"
    assert config.content.processor.module == "pipeline_runner.processors.gcp.external_bq_extractor"
    assert config.content.schedule is not None
    assert config.content.schedule.default_cron == "0 */6 * * *"
    assert list(config.content.parameters) == ["date", "start_date", "end_date"]


def test_the_repositorys_own_catalog_resolves_as_the_specifications_does(folder):
    settings = {"billing_project_id": "customer", "billing_dataset_id": "export"}
    ours, theirs = (
        resolve_run(load_catalog(root), run_request(), env="dev", integration=settings)
        for root in (REPOSITORY / "configs", folder.root)
    )
    for section in ("processor", "target"):
        assert ours.config[section] == theirs.config[section]
    # What the specification's example doesn't have: late corrections are read again.
    assert ours.config["source"] == {**theirs.config["source"], "rescan_days": 10}
    assert ours.parameters == theirs.parameters
    assert load_catalog(REPOSITORY / "configs").providers.keys() == {"gcp", "openai", "anthropic"}


def test_a_customers_table_comes_from_the_integration():
    settings = {
        "billing_project_id": "customer",
        "billing_dataset_id": "export",
        "billing_table": "gcp_billing_export_v1_01AB-CD",
    }
    document = resolve_run(load_catalog(REPOSITORY / "configs"), run_request(), env="dev", integration=settings)
    assert document.config["source"]["table"] == "gcp_billing_export_v1_01AB-CD"


def test_a_path_without_a_domain_takes_the_domain_from_the_file(folder):
    folder.write_smallest("anthropic/usage_cost.yml", provider="anthropic", domain="cost", name="claude_costs")
    catalog = load_catalog(folder.root)
    config = catalog.get("anthropic", "cost", "usage_cost")
    assert config.key == "anthropic/cost/usage_cost"
    assert config.path == "anthropic/usage_cost.yml"
    assert catalog.get("anthropic", "cost", "claude_costs") is config


def test_domains_and_providers_are_open(folder):
    folder.write_smallest("demo/test/noop.yml", provider="demo", domain="test", name="noop")
    catalog = load_catalog(folder.root)
    assert [config.key for config in catalog.pipelines] == ["demo/test/noop", "gcp/cost/billing"]
    assert not catalog.providers["demo"].integration_required
    assert catalog.providers["gcp"].integration_required


def test_pipeline_name_is_an_alias_of_the_stem(folder):
    catalog = load_catalog(folder.root)
    assert catalog.get("gcp", "cost", "gcp_billing") is catalog.get("gcp", "cost", "billing")


def test_what_is_not_there_is_refused_in_the_specifications_words(folder):
    catalog = load_catalog(folder.root)
    with pytest.raises(UnknownProviderError, match=r"^Unknown provider: azure$"):
        catalog.get("azure", "cost", "billing")
    for domain, pipeline in (("cost", "nothing"), ("usage", "billing"), ("cost", "../cost/billing"), ("cost", "")):
        with pytest.raises(PipelineNotFoundError) as error:
            catalog.get("gcp", domain, pipeline)
        assert str(error.value) == f"Pipeline not found: gcp/{domain}/{pipeline}"


def test_long_names_are_cut_in_the_error(folder):
    catalog = load_catalog(folder.root)
    with pytest.raises(UnknownProviderError) as unknown:
        catalog.get("x" * 10_000, "cost", "billing")
    with pytest.raises(PipelineNotFoundError) as missing:
        catalog.get("gcp", "c" * 10_000, "p" * 10_000)
    assert len(str(unknown.value)) < 100
    assert len(str(missing.value)) < 200


def test_hidden_and_other_files_are_left_out(folder):
    folder.write(".git/config.yml", "no: config")
    folder.write("gcp/cost/.billing.yml.swp", "")
    folder.write("gcp/README.md", "# Google Cloud")
    assert len(load_catalog(folder.root).pipelines) == 1


def test_a_config_maps_volume_loads_through_its_links(folder, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "..2026_11_22").symlink_to(folder.root)
    (volume / "..data").symlink_to("..2026_11_22")
    for name in ("system", "gcp"):
        (volume / name).symlink_to(f"..data/{name}")
    assert load_catalog(volume).hash == load_catalog(folder.root).hash


def test_the_hash_follows_the_content_and_nothing_else(folder, tmp_path):
    first = load_catalog(folder.root).hash
    folder.write("gcp/README.md", "not a config")
    assert load_catalog(folder.root).hash == first
    folder.edit_billing("Every 6 hours", "Each 6 hours")
    assert load_catalog(folder.root).hash != first


@pytest.mark.parametrize("module", ["acme_billing.processors.billing", "acme_billing"])
def test_modules_of_an_allowed_package_are_taken_as_they_are(folder, module):
    folder.edit_billing("src.core.processors.gcp.external_bq_extractor", module)
    catalog = load_catalog(folder.root, processor_packages=["acme-billing"])
    assert catalog.get("gcp", "cost", "billing").content.processor.module == module


@pytest.mark.parametrize("module", ["acme_billing_evil.x", "acme.billing", "Acme_billing.x", "acme_billing..x"])
def test_a_module_beside_the_allowed_packages_is_refused_with_their_names(folder, module):
    folder.edit_billing("src.core.processors.gcp.external_bq_extractor", module)
    with pytest.raises(CatalogInvalidError) as error:
        load_catalog(folder.root, processor_packages=["acme-billing"])
    assert f"processor.module: '{module}' isn't a module of an allowed package" in str(error.value)
    assert "acme_billing.; PIPELINES_PROCESSOR_PACKAGES allows further packages" in str(error.value)


def test_text_that_other_yaml_readers_would_convert_stays_text(folder):
    more = """\
parameters:
  since: {type: date, default: 2026-01-31}
  mode: {type: string, default: on}
  share: {type: number, default: 0.1}
"""
    folder.write_smallest("demo/test/noop.yml", provider="demo", domain="test", name="noop", more=more)
    document = resolve_run(load_catalog(folder.root), run_request("demo/test/noop"), env="dev", integration=None)
    assert document.parameters == {"since": "2026-01-31", "mode": "on", "share": "0.1"}


def test_aliases_are_expanded(folder):
    more = """\
parameters:
  first: &text {type: string, default: a}
  second: *text
"""
    folder.write_smallest("demo/test/noop.yml", provider="demo", domain="test", name="noop", more=more)
    parameters = load_catalog(folder.root).get("demo", "test", "noop").content.parameters
    assert parameters["first"] == parameters["second"]
