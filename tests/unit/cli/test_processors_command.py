"""`pipelines processors` lists what configs can name here, without importing what it isn't told to trust."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipeline_cli.main import app
from pipeline_core import __version__

POINTS = "[pipelines.processors]\ninvoices = acme_invoices.processor:Invoices\nodd = elsewhere.x:Y\n"


def run(*arguments: str, packages: str = "") -> Result:
    return CliRunner().invoke(app, ["processors", *arguments], env={"PIPELINES_PROCESSOR_PACKAGES": packages})


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package whose code would fail the test if it were imported."""
    (tmp_path / "acme_invoices").mkdir()
    (tmp_path / "acme_invoices" / "__init__.py").write_text("raise AssertionError('imported')\n")
    metadata = tmp_path / "acme_invoices-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-invoices\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_runners_own_are_listed_with_their_modules() -> None:
    found = {each["class"]: each for each in json.loads(run("-o", "json").stdout)}
    assert found["ExternalBQExtractor"] == {
        "name": "ExternalBQExtractor",
        "class": "ExternalBQExtractor",
        "module": "pipeline_runner.processors.gcp.external_bq_extractor",
        "package": "pipeline-operator",
        "version": __version__,
        "allowed": "yes",
    }
    assert {"OpenAIUsageProcessor", "AnthropicUsageProcessor", "NoopProcessor"} <= found.keys()
    assert not {"BaseProcessor", "ApiUsageProcessor"} & found.keys(), "what others build upon is none to be named"


@pytest.mark.usefixtures("acme")
def test_installed_packages_say_whether_they_are_allowed() -> None:
    for packages, expected in (("", "not allowed"), ("Acme_Invoices", "yes")):
        result = run("-o", "json", packages=packages)
        assert result.exit_code == 0, result.output
        found = {each["name"]: each for each in json.loads(result.stdout)}
        assert found["invoices"] == {
            "name": "invoices",
            "class": "Invoices",
            "module": "acme_invoices.processor",
            "package": "acme-invoices",
            "version": "1.2",
            "allowed": expected,
        }
    assert found["odd"]["allowed"] == "not a module of acme_invoices, the package's own"


@pytest.mark.usefixtures("acme")
def test_the_table_has_one_line_each() -> None:
    result = run("--processor-packages", "acme-invoices,gone")
    line = next(line for line in result.stdout.splitlines() if line.startswith("invoices "))
    assert line.split() == ["invoices", "Invoices", "acme_invoices.processor", "acme-invoices", "1.2", "yes"]
    assert "Allowed, but not installed here or without processors in pipelines.processors: gone" in result.stderr


def test_a_name_that_cannot_be_is_refused() -> None:
    result = run(packages="os.path*")
    assert (result.exit_code, "'os.path*' can't be the name of a package" in result.output) == (78, True)
