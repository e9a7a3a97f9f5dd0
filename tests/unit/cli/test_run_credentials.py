"""`pipelines run --local --credentials DIRECTORY`: a run here finds its key in a folder, or says what lacks."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_cli.main import app

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINES_DATABASE_URL", raising=False)
    monkeypatch.setenv("PIPELINES_BIGQUERY_PROJECT", "p")
    monkeypatch.setenv("PIPELINES_BIGQUERY_CREDENTIALS", "anonymous")


def run(*arguments: str) -> str:
    setting = ("--setting", "openai_base_url=https://127.0.0.1:9", "--configs", str(CONFIGS))
    result = CliRunner().invoke(
        app, ["run", "openai/cost/usage_cost", "--org", "acme", "--local", *setting, *arguments]
    )
    assert result.exit_code != 0
    return result.output


def test_a_folder_without_the_key_is_named_once(tmp_path: Path) -> None:
    told = f"{tmp_path} has no field api_key; it has none"
    assert run("--credentials", str(tmp_path)).count(told) == 1


def test_without_a_folder_the_way_to_one_is_told() -> None:
    assert "for pipelines run --local: --credentials DIRECTORY" in run()


def test_a_setting_that_the_provider_has_not_is_refused() -> None:
    told = "--setting 'openai_url': unknown; openai has: openai_base_url, openai_usage_endpoints"
    assert told in run("--setting", "openai_url=https://127.0.0.1:9")


def test_a_folder_that_isnt_there_is_refused(tmp_path: Path) -> None:
    assert "Invalid value for '--credentials'" in run("--credentials", str(tmp_path / "none"))
