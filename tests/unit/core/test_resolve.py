"""A request becomes a run document, or the first error in the fixed order."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from pipeline_core.catalog.checks import ChecksSection, Proportion, SumRange
from pipeline_core.catalog.loader import load_catalog
from pipeline_core.catalog.snapshot import Catalog
from pipeline_core.errors import (
    ConfigInvalidError,
    IntegrationNotActiveError,
    ParametersInvalidError,
    PipelineNotFoundError,
    RequestInvalidError,
    TemplateInvalidError,
    UnknownProviderError,
)
from pipeline_core.resolve import resolve_run
from pipeline_core.run_document import RunDocument
from support.run_requests import run_request

SETTINGS = {"billing_project_id": "customer-project", "billing_dataset_id": "export"}
REQUEST = run_request()


@pytest.fixture
def catalog(folder) -> Catalog:
    return load_catalog(folder.root)


def resolve(catalog: Catalog, integration: dict[str, str] | None = SETTINGS, **changes: Any) -> RunDocument:
    return resolve_run(catalog, replace(REQUEST, **changes), env="dev", integration=integration)


def test_the_document_holds_all_that_a_runner_needs(catalog):
    document = resolve(catalog)
    assert document.run_id == "run_ab12"
    assert (document.org_slug, document.env) == ("acme", "dev")
    assert (document.provider, document.domain, document.pipeline) == ("gcp", "cost", "billing")
    assert document.logical_time == REQUEST.logical_time
    assert document.parameters == {"date": "2026-02-28"}
    assert document.config["processor"] == {
        "class": "ExternalBQExtractor",
        "module": "pipeline_runner.processors.gcp.external_bq_extractor",
    }
    assert document.config["source"] == {
        "type": "bigquery",
        "project": "customer-project",
        "dataset": "export",
        "table": "gcp_billing_export",
    }
    assert document.config["target"] == {"type": "bigquery", "dataset": "acme_dev", "table": "gcp_billing_costs"}
    assert "{{" not in document.model_dump_json()


def test_a_document_survives_its_way_through_json(catalog):
    document = resolve(catalog, parameters={"start_date": "2026-01-01"})
    assert RunDocument.model_validate_json(document.model_dump_json()) == document


def test_asking_twice_gives_the_same_document(catalog):
    assert resolve(catalog).model_dump_json() == resolve(catalog).model_dump_json()


def test_the_alias_resolves_to_the_canonical_stem(catalog):
    assert resolve(catalog, pipeline="gcp_billing") == resolve(catalog)


def test_the_order_of_refusals_is_fixed(catalog):
    wrong = {"parameters": {"nope": 1}, "pipeline": "nope", "provider": "nope"}
    with pytest.raises(UnknownProviderError, match=r"^Unknown provider: nope$"):
        resolve(catalog, None, **wrong)
    del wrong["provider"]
    with pytest.raises(PipelineNotFoundError, match=r"^Pipeline not found: gcp/cost/nope$"):
        resolve(catalog, None, **wrong)
    del wrong["pipeline"]
    with pytest.raises(ParametersInvalidError, match="unknown parameter 'nope'"):
        resolve(catalog, None, **wrong)
    with pytest.raises(IntegrationNotActiveError, match=r"^gcp integration not active$"):
        resolve(catalog, None)
    with pytest.raises(TemplateInvalidError):
        resolve(catalog, {})


def test_a_setting_that_is_missing_is_named_with_its_place(catalog):
    with pytest.raises(TemplateInvalidError) as error:
        resolve(catalog, {"billing_project_id": "customer-project"})
    message = str(error.value)
    assert message.startswith("gcp/cost/billing.yml: source.dataset: unknown variable 'billing_dataset_id'; known: ")
    assert message.endswith("the organization's gcp integration doesn't set: billing_dataset_id")


def test_a_provider_without_integration_needs_none(folder):
    folder.write_smallest("demo/test/noop.yml", provider="demo", domain="test", name="noop")
    document = resolve(load_catalog(folder.root), None, provider="demo", domain="test", pipeline="noop")
    assert document.config["target"]["dataset"] == "acme_dev"


def test_a_setting_never_shadows_a_built_in(catalog):
    document = resolve(catalog, {**SETTINGS, "org_slug": "victim", "env": "prod", "yesterday": "2000-01-01"})
    assert document.config["target"]["dataset"] == "acme_dev"
    assert document.parameters == {"date": "2026-02-28"}


def test_the_parameter_date_is_not_the_variable_date(folder):
    folder.edit_billing("table: gcp_billing_costs", 'table: "costs_{{date}}"')
    document = resolve(load_catalog(folder.root), parameters={"date": "2020-01-01"})
    assert document.config["target"]["table"] == "costs_2026-03-01"


def test_a_template_in_a_parameter_is_data(folder):
    folder.edit_billing("  date:\n", "  note: {type: string}\n  date:\n")
    document = resolve(load_catalog(folder.root), parameters={"note": "{{billing_project_id}} {{"})
    assert document.parameters["note"] == "{{billing_project_id}} {{"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("billing_dataset_id", "a`; DROP TABLE x; --"),
        ("billing_dataset_id", "{{org_slug}}"),
        ("billing_dataset_id", ""),
        ("billing_project_id", "../other"),
        ("billing_project_id", "x" * 1_000),
    ],
)
def test_a_setting_that_is_no_name_in_bigquery_is_refused(catalog, name, value):
    with pytest.raises(
        ConfigInvalidError, match=r"^gcp/cost/billing\.yml: source\.\w+: .* isn't the name of a BigQuery"
    ):
        resolve(catalog, {**SETTINGS, name: value})


RESCAN = "table: gcp_billing_export\n  rescan_days: 10\n  catch_up_days: 30"


def test_a_run_whose_caller_named_no_days_looks_back_over_the_rescan_window(folder):
    folder.edit_billing("table: gcp_billing_export", RESCAN)
    document = resolve(load_catalog(folder.root))
    assert document.parameters == {"date": "2026-02-28"}
    assert document.config["source"]["rescan_days"] == 10
    assert document.config["source"]["catch_up_days"] == 30


@pytest.mark.parametrize(
    "named",
    [{"date": "2026-02-28"}, {"start_date": "2026-01-01"}, {"start_date": "2026-01-01", "end_date": "2026-01-02"}],
)
def test_days_that_the_caller_named_are_never_widened(folder, named):
    folder.edit_billing("table: gcp_billing_export", RESCAN)
    document = resolve(load_catalog(folder.root), parameters=named)
    assert document.config["source"].keys().isdisjoint({"rescan_days", "catch_up_days"})
    assert document.config["source"]["table"] == "gcp_billing_export"


def test_a_parameter_that_is_no_day_leaves_the_rescan_window(folder):
    folder.edit_billing("table: gcp_billing_export", RESCAN)
    folder.write(
        "gcp/cost/billing.yml",
        (folder.root / "gcp/cost/billing.yml").read_text().replace("  date:\n", "  note: {type: string}\n  date:\n"),
    )
    document = resolve(load_catalog(folder.root), parameters={"note": "x"})
    assert document.config["source"]["rescan_days"] == 10


def test_a_config_without_a_source_has_no_rescan_window(folder):
    more = "parameters:\n  date: {type: date}\n"
    folder.write_smallest("demo/test/noop.yml", provider="demo", domain="test", name="noop", more=more)
    where = {"provider": "demo", "domain": "test", "pipeline": "noop"}
    document = resolve(load_catalog(folder.root), None, **where, parameters={"date": "2026-01-01"})
    assert "source" not in document.config


def test_two_tables_that_a_setting_makes_one_are_refused(folder):
    folder.edit_billing("table: gcp_billing_costs", 'table: costs\n  tables: {usage: "{{billing_table}}"}')
    catalog = load_catalog(folder.root)
    assert resolve(catalog).config["target"]["tables"] == {"usage": "gcp_billing_export"}
    with pytest.raises(ConfigInvalidError, match=r"target\.tables\.usage: 'costs' is target\.table already"):
        resolve(catalog, {**SETTINGS, "billing_table": "costs"})
    with pytest.raises(ConfigInvalidError, match=r"target\.tables\.usage: 'a`' isn't the name of a BigQuery table"):
        resolve(catalog, {**SETTINGS, "billing_table": "a`"})


def test_bounds_of_checks_reach_the_runner_exactly(folder):
    checks = 'checks:\n  sum: {cost: {min: 0, max: "0.100000000000000000001"}}\n  quarantined: {max: 3}\n'
    checks += '  not_null_proportion: {cost: {min: "0.300000000000000000001"}, labels: {min: 1}}\n'
    folder.edit_billing("schedule:\n", f"{checks}schedule:\n")
    document = RunDocument.model_validate_json(resolve(load_catalog(folder.root)).model_dump_json())
    found = ChecksSection.model_validate(document.config["checks"])
    assert found.sum == {"cost": SumRange(min=Decimal(0), max=Decimal("0.100000000000000000001"))}
    shares = {"cost": Proportion(min=Decimal("0.300000000000000000001")), "labels": Proportion(min=Decimal(1))}
    assert found.not_null_proportion == shares
    assert (found.max_quarantined, found.of("usage").max_quarantined) == (3, 0)


def test_limits_come_from_the_request_then_the_config_then_the_defaults(folder):
    catalog = load_catalog(folder.root)
    assert (resolve(catalog).timeout_seconds, resolve(catalog).max_retries) == (3600, 2)
    folder.edit_billing("schedule:\n", "timeout_seconds: 60\nretry: {max_retries: 0}\nschedule:\n")
    catalog = load_catalog(folder.root)
    assert (resolve(catalog).timeout_seconds, resolve(catalog).max_retries) == (60, 0)
    document = resolve(catalog, timeout_seconds=10, max_retries=5)
    assert (document.timeout_seconds, document.max_retries) == (10, 5)


BAD_REQUESTS = [
    ({"run_id": "run-1"}, "run_id: 'run-1' doesn't match"),
    ({"run_id": "run_1\n"}, "run_id: "),
    ({"org_slug": "acme-corp"}, "org_slug: 'acme-corp' doesn't match"),
    ({"logical_time": datetime(2026, 3, 1)}, "logical_time: expected a time with its zone"),
    ({"logical_time": datetime(1, 1, 1, tzinfo=UTC)}, "logical_time: "),
    ({"timeout_seconds": 0}, "timeout_seconds: expected at least 1, got 0"),
    ({"max_retries": -1}, "max_retries: expected at least 0, got -1"),
]


@pytest.mark.parametrize(("changes", "message"), BAD_REQUESTS)
def test_a_request_that_cannot_be_is_refused_by_field(catalog, changes, message):
    with pytest.raises(RequestInvalidError) as error:
        resolve(catalog, **changes)
    assert str(error.value).startswith(message)


def test_an_environment_that_cannot_name_a_dataset_is_refused(catalog):
    with pytest.raises(RequestInvalidError, match=r"^env: 'dev-1' doesn't match"):
        resolve_run(catalog, REQUEST, env="dev-1", integration=SETTINGS)


def test_a_document_too_large_for_its_annotation_is_refused(folder):
    folder.edit_billing("  date:\n", "".join(f"  p{n}: {{type: string}}\n" for n in range(140)) + "  date:\n")
    with pytest.raises(ConfigInvalidError, match=r"the run document has \d+ bytes; at most 131072 fit"):
        resolve(load_catalog(folder.root), parameters={f"p{n}": "x" * 1_000 for n in range(140)})
