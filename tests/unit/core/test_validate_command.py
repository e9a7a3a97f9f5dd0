"""`pipelines validate` says what CI needs to know, in text and JSON, for a catalog or a part of it."""

import json

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline_cli.validate import validate

app = typer.Typer()
app.command()(validate)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_valid_catalog_exits_with_zero_and_a_count(folder):
    result = run(folder.root)
    assert (result.exit_code, result.output) == (0, f"{folder.root} is valid: 1 pipeline config\n")


def test_configs_of_the_working_folder_are_the_default(folder, monkeypatch):
    monkeypatch.chdir(folder.root.parent)
    assert run().output == "configs is valid: 1 pipeline config\n"
    folder.edit_billing("domain: cost", "domain: usage")
    result = run()
    expected = "configs/gcp/cost/billing.yml:5: pipeline.domain: 'usage' doesn't match the folder, 'cost'\n"
    assert (result.exit_code, result.output) == (1, expected)


@pytest.fixture
def two_broken(folder):
    folder.edit_billing("domain: cost", "domain: usage")
    folder.write_smallest("anthropic/cost/other.yml", provider="anthropic", domain="cost", name="No-Name")
    return folder.root


def test_all_errors_are_printed_one_a_line(two_broken):
    result = run(two_broken)
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.output.splitlines()] == ["pipeline.name", "pipeline.domain"]


def test_json_names_file_line_field_and_message(two_broken):
    result = run(two_broken, "--output", "json")
    answer = json.loads(result.output)
    assert (result.exit_code, answer["valid"], answer["checked"]) == (1, False, 2)
    assert answer["errors"][1] == {
        "file": str(two_broken / "gcp/cost/billing.yml"),
        "line": 5,
        "field": "pipeline.domain",
        "message": "'usage' doesn't match the folder, 'cost'",
    }


def test_json_of_a_valid_catalog(folder):
    result = run(folder.root, "-o", "json")
    assert (result.exit_code, json.loads(result.output)) == (0, {"valid": True, "checked": 1, "errors": []})


@pytest.mark.parametrize("part", ["gcp/cost/billing.yml", "gcp/cost", "gcp"])
def test_a_part_of_a_catalog_is_judged_alone(two_broken, part):
    result = run(two_broken / part)
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1
    assert "pipeline.domain" in result.output


def test_a_valid_file_beside_a_broken_one_is_valid(folder):
    folder.write_smallest("anthropic/cost/other.yml", provider="anthropic", domain="cost", name="No-Name")
    result = run(folder.root / "gcp/cost/billing.yml")
    assert (result.exit_code, result.output.split(": ")[1]) == (0, "1 pipeline config\n")


def test_a_broken_registry_counts_for_every_part(folder):
    folder.write("system/providers.yml", "providers: []")
    result = run(folder.root / "gcp/cost/billing.yml")
    assert result.exit_code == 1
    assert "system/providers.yml:1: providers: expected a mapping" in result.output


def test_the_registry_alone_may_be_checked(folder):
    assert run(folder.root / "system/providers.yml").exit_code == 0


def test_what_is_no_catalog_is_an_error(tmp_path, folder):
    file = tmp_path / "billing.yml"
    file.write_text("a: 1")
    empty = folder.root / "gcp/usage"
    empty.mkdir()
    for path, message in (
        (tmp_path / "nothing", "no such file or folder"),
        (file, "not part of a catalog: no folder above it has system/providers.yml"),
        (empty, "no config stands here"),
    ):
        result = run(path)
        assert result.exit_code == 1
        assert f"{path}:1: {message}" in result.output


def test_packages_of_processors_are_allowed_by_option_or_environment(folder, monkeypatch):
    folder.edit_billing("src.core.processors.gcp.external_bq_extractor", "acme_invoices.processor")
    refused = run(folder.root)
    assert (refused.exit_code, "PIPELINES_PROCESSOR_PACKAGES allows further packages" in refused.output) == (1, True)
    assert run(folder.root, "--processor-packages", "other,Acme.Invoices").exit_code == 0
    monkeypatch.setenv("PIPELINES_PROCESSOR_PACKAGES", "acme-invoices")
    assert run(folder.root).exit_code == 0
    assert run(folder.root, "--processor-packages", "a b").exit_code == 78
