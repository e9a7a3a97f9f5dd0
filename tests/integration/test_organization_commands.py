"""`pipelines org` and `pipelines integration`: what they store, repeat and refuse."""

import json

import pytest
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client

RUNNER = CliRunner()


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_an_organizations_dataset_is_made_once(bigquery_settings: BigQuerySettings) -> None:
    assert run("org", "create", "initech", "--env", "test") == "dataset local-dev.initech_test created\n"
    assert run("org", "create", "initech", "--env", "test") == "dataset local-dev.initech_test is there\n"
    assert bigquery_client(bigquery_settings).get_dataset("initech_test").location == bigquery_settings.location


def test_a_slug_that_names_no_dataset_is_refused(bigquery_settings: BigQuerySettings) -> None:
    assert "org: expected" in run("org", "create", "in-itech", code=78)


def test_an_integration_is_stored_replaced_and_listed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_url)
    run("integration", "set", "acme", "gcp", "--setting", "billing_project_id=p", "--setting", "billing_dataset_id=d")
    run("integration", "set", "acme", "gcp", "--setting", "billing_project_id=q", "--status", "INACTIVE")
    (found,) = json.loads(run("integration", "list", "acme", "--output", "json"))
    assert (found["provider"], found["status"], found["settings"]) == ("gcp", "INACTIVE", {"billing_project_id": "q"})
    assert "billing_project_id=q" in run("integration", "list", "acme")
    assert json.loads(run("integration", "list", "globex", "--output", "json")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("acme", "gcp", "--setting", "odd"), "expected name=value"),
        (("Acme", "gcp"), "org_slug 'Acme'"),
        (("acme", "GCP"), "provider 'GCP'"),
        (("acme", "gcp", "--setting", "Odd=1"), "setting 'Odd'"),
    ],
)
def test_a_wrong_integration_is_refused_in_one_line(
    database_url: str, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_url)
    said = run("integration", "set", *arguments, code=78)
    assert words in said
    assert said.count("\n") == 1


def test_without_a_database_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPELINES_DATABASE_URL", raising=False)
    assert "PIPELINES_DATABASE_URL" in run("integration", "list", "acme", code=78)


def test_a_database_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/d")
    said = run("integration", "list", "acme", code=78)
    assert "secret" not in said
    assert "Traceback" not in said
