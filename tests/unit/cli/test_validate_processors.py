"""`pipelines validate` asks the processors that are installed here, and tells what they find with its line."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_cli.main import app

CONFIGS = Path(__file__).parents[3] / "configs"
OPENAI, ANTHROPIC, BILLING = "openai/cost/usage_cost.yml", "anthropic/usage_cost.yml", "gcp/cost/billing.yml"
_OWN = "src.core.processors.gcp.external_bq_extractor"


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    return Path(shutil.copytree(CONFIGS, tmp_path / "configs"))


def edit(configs: Path, file: str, old: str, new: str) -> int:
    """Replace what stands once in a file; the line that it stands in."""
    text = (configs / file).read_text()
    assert text.count(old) == 1
    (configs / file).write_text(text.replace(old, new))
    return text[: text.index(old)].count("\n") + 1


def told(configs: Path, *arguments: str) -> list[str]:
    """What the command prints, without the folder's path."""
    result = CliRunner().invoke(app, ["validate", str(configs), *arguments])
    lines = result.stdout.replace(f"{configs}/", "").splitlines()
    assert (result.exit_code == 0) == (" is valid: " in result.stdout)
    return [*lines, *result.stderr.splitlines()]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        (
            OPENAI,
            "bucket_width: 1d",
            "bucket_widht: 1d",
            "source.bucket_widht: unknown field; known here: type, base_url",
        ),
        (OPENAI, "bucket_width: 1d", "bucket_width: 2d", "source.bucket_width: expected '1d' or '1h', got '2d'"),
        (OPENAI, '"{{openai_usage_endpoints}}"', "[chat]", "source.endpoints: expected all, or some of completions"),
        (
            OPENAI,
            "line_item: {min",
            "line_itme: {min",
            "checks.not_null_proportion: line_itme is no column of the table",
        ),
        (ANTHROPIC, "class: Anthropic", "class: Anthropical", "processor.class: pipeline_runner.processors.anthropic."),
        (BILLING, _OWN, f"{_OWN}s", "processor.module: there is no module pipeline_runner.processors.gcp.external_bq_"),
    ],
)
def test_what_a_run_would_refuse(configs: Path, file: str, old: str, new: str, expected: str) -> None:
    line = edit(configs, file, old, new)
    (found,) = told(configs)
    assert found.startswith(f"{file}:{line}: {expected}")


def test_all_configs_are_told_at_once_and_those_that_are_not_asked_for_are_not(configs: Path) -> None:
    edit(configs, OPENAI, "bucket_width: 1d", "bucket_width: 2d")
    edit(configs, BILLING, _OWN, f"{_OWN}s")
    assert [each.partition(":")[0] for each in told(configs)] == [BILLING, OPENAI]
    result = CliRunner().invoke(app, ["validate", str(configs / ANTHROPIC)])
    assert (result.exit_code, "is valid: 1 pipeline config" in result.output) == (0, True)


def test_nothing_is_said_of_what_only_an_organizations_setting_decides(configs: Path) -> None:
    registry = configs / "system/providers.yml"
    lines = registry.read_text().splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if "openai_usage_endpoints:" in line)
    # without its default, the names of the endpoints aren't known here
    default = next(number for number in range(start, len(lines)) if "default:" in lines[number])
    registry.write_text("".join(lines[:default] + lines[default + 1 :]))
    assert told(configs) == [f"{configs} is valid: 4 pipeline configs"]
    edit(configs, OPENAI, "bucket_width: 1d", "bucket_width: 2d")
    assert [each.split(": ")[1] for each in told(configs)] == ["source.bucket_width"]


PACKAGE = """\
from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.base import BaseProcessor

class Invoices(BaseProcessor):
    def check_config(self):
        if "spread" not in self.config["source"]:
            raise ConfigError("source.spread: expected how far")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with a processor, acme-invoices; its module."""
    module = tmp_path / "acme_invoices.py"
    module.write_text(PACKAGE)
    info = tmp_path / "acme_invoices-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-invoices\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pipelines.processors]\ninvoices = acme_invoices:Invoices\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield module
    sys.modules.pop("acme_invoices", None)


def name_it(configs: Path) -> None:
    """The config of Anthropic has the package's processor from now on."""
    file = configs / ANTHROPIC
    lines = file.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        if line.startswith("  class: "):
            lines[number] = "  class: Invoices\n"
        if line.startswith("  module: "):
            lines[number] = "  module: acme_invoices\n"
    file.write_text("".join(lines))


def test_a_package_that_is_not_installed_here_is_told_and_no_error(configs: Path) -> None:
    name_it(configs)
    valid, note = told(configs, "--processor-packages", "acme-invoices")
    assert valid == f"{configs} is valid: 4 pipeline configs"
    assert note == f"{ANTHROPIC}: acme_invoices isn't installed here: source and checks weren't looked at"


def test_a_package_that_is_installed_is_asked(configs: Path, package: Path) -> None:
    name_it(configs)
    (found,) = told(configs, "--processor-packages", "acme-invoices")
    assert found.startswith(f"{ANTHROPIC}:")
    assert found.endswith(": processor: source.spread: expected how far")


def test_a_package_that_cannot_be_imported_is_told(configs: Path, package: Path) -> None:
    name_it(configs)
    package.write_text("import nothing_of_the_kind\n")
    (found,) = told(configs, "--processor-packages", "acme-invoices")
    assert ": processor.module: importing it fails: ModuleNotFoundError: No module named 'nothing_of" in found
