"""`pipelines org`, `subscription` and `integration`: what they store, repeat, list and refuse."""

import json

import pytest
from typer.testing import CliRunner

from pipeline_cli.main import app
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client

RUNNER = CliRunner()
LIMITS = ("--per-day", "20", "--per-month", "500", "--concurrent", "5")


def run(*arguments: str, code: int = 0) -> str:
    result = RUNNER.invoke(app, list(arguments))
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


@pytest.fixture(autouse=True)
def _database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", database_url)


@pytest.fixture
def acme(bigquery_settings: BigQuerySettings) -> str:
    run("org", "create", "acme", "--env", "test")
    return "acme"


def test_an_organization_and_its_dataset_are_made_once(bigquery_settings: BigQuerySettings) -> None:
    made = run("org", "create", "initech", "--env", "test", "--name", "Initech GmbH", "--time-zone", "Europe/Berlin")
    assert made.splitlines() == [
        "organization initech (Initech GmbH) created; its days and months are those of Europe/Berlin",
        "dataset local-dev.initech_test created",
    ]
    assert run("org", "create", "initech", "--env", "test").splitlines() == [
        "organization initech (Initech GmbH) is there; its days and months are those of Europe/Berlin",
        "dataset local-dev.initech_test is there",
    ]
    assert bigquery_client(bigquery_settings).get_dataset("initech_test").location == bigquery_settings.location


def test_organizations_are_listed_by_slug(acme: str) -> None:
    assert "Etc/UTC" in run("org", "create", "aaa", "--env", "test")
    assert [each["org_slug"] for each in json.loads(run("org", "list", "--output", "json"))] == ["aaa", acme]
    assert [line.split()[0] for line in run("org", "list").splitlines()] == ["ORG", "aaa", acme]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("in-itech",), "org_slug 'in-itech'"),
        (("initech", "--env", "Test"), "env: expected"),
        (("initech", "--time-zone", "CEST"), "time_zone 'CEST': expected an IANA name"),
        (("initech", "--name", ""), "display_name ''"),
    ],
)
def test_a_wrong_organization_is_refused_and_nothing_is_made(
    bigquery_settings: BigQuerySettings, arguments: tuple[str, ...], words: str
) -> None:
    said = run("org", "create", *arguments, code=78)
    assert words in said
    assert said.count("\n") == 1
    assert json.loads(run("org", "list", "--output", "json")) == []


def test_a_subscription_is_made_changed_and_shown(acme: str) -> None:
    assert run("subscription", "set", acme, "--plan", "professional", *LIMITS) == (
        "subscription of acme (professional) is ACTIVE: 20 runs a day, 500 a month, 5 at a time\n"
    )
    assert run("subscription", "set", acme, "--status", "trial", "--per-day", "0") == (
        "subscription of acme (professional) is TRIAL: 0 runs a day, 500 a month, 5 at a time\n"
    )
    assert json.loads(run("subscription", "show", acme, "-o", "json")) == {
        "org_slug": acme,
        "status": "TRIAL",
        "plan": "professional",
        "pipelines_per_day_limit": 0,
        "pipelines_per_month_limit": 500,
        "concurrent_pipelines_limit": 5,
    }
    assert run("subscription", "show", acme).splitlines()[1].split() == [acme, "TRIAL", "professional", "0", "500", "5"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (LIMITS[:4], "a new one needs every limit; missing: concurrent"),
        ((*LIMITS, "--status", "paused"), "status 'paused': expected one of ACTIVE, TRIAL"),
        (("--per-day", "-1"), "per_day -1: expected a whole number from 0"),
        ((*LIMITS[:4], "--concurrent", "3000000000"), "concurrent 3000000000"),
        ((), "nothing to change"),
    ],
)
def test_a_wrong_subscription_is_refused_in_one_line(acme: str, arguments: tuple[str, ...], words: str) -> None:
    said = run("subscription", "set", acme, *arguments, code=78)
    assert words in said
    assert said.count("\n") == 1
    assert "has no subscription" in run("subscription", "show", acme, code=78)


def test_an_integration_is_stored_replaced_and_listed(acme: str) -> None:
    run("integration", "set", acme, "gcp", "--setting", "billing_project_id=p", "--credential-secret", "acme-gcp.v1")
    (found,) = json.loads(run("integration", "list", acme, "--output", "json"))
    assert (found["settings"], found["credential_secret"]) == ({"billing_project_id": "p"}, "acme-gcp.v1")
    run("integration", "set", acme, "gcp", "--setting", "billing_project_id=q", "--status", "INACTIVE")
    (found,) = json.loads(run("integration", "list", acme, "--output", "json"))
    assert (found["provider"], found["status"], found["settings"]) == ("gcp", "INACTIVE", {"billing_project_id": "q"})
    assert found["credential_secret"] is None
    assert "billing_project_id=q" in run("integration", "list", acme)
    assert json.loads(run("integration", "list", "globex", "--output", "json")) == []


def test_in_a_namespace_of_its_own_an_organizations_secret_has_any_name(
    acme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINES_TENANCY", "NamespacePerOrganization")
    run("integration", "set", acme, "gcp", "--credential-secret", "billing-reader")
    (found,) = json.loads(run("integration", "list", acme, "--output", "json"))
    assert found["credential_secret"] == "billing-reader"


def test_a_long_setting_is_not_broken_in_a_pipe(acme: str) -> None:
    setting = f"billing_table={'x' * 150}"
    run("integration", "set", acme, "gcp", "--setting", setting)
    assert setting in run("integration", "list", acme)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("acme", "gcp", "--setting", "odd"), "expected name=value"),
        (("Acme", "gcp"), "org_slug 'Acme'"),
        (("acme", "GCP"), "provider 'GCP'"),
        (("acme", "gcp", "--setting", "Odd=1"), "setting 'Odd'"),
        (("acme", "gcp", "--credential-secret", "Acme_Key"), "credential_secret 'Acme_Key'"),
        (("acme", "gcp", "--credential-secret", "a" * 254), "credential_secret 'aaaa"),
        (("acme", "gcp", "--credential-secret", "globex-gcp"), "the Secret must be acme's own"),
        (("globex", "gcp"), "Organization not found: globex"),
    ],
)
def test_a_wrong_integration_is_refused_in_one_line(acme: str, arguments: tuple[str, ...], words: str) -> None:
    said = run("integration", "set", *arguments, code=78)
    assert words in said
    assert said.count("\n") == 1
    assert json.loads(run("integration", "list", "acme", "-o", "json")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("subscription", "set", "globex", *LIMITS),
        ("subscription", "show", "globex"),
        ("quota", "show", "globex"),
        ("quota", "recompute", "globex"),
        ("quota", "recompute", "globex", "--dry-run"),
    ],
)
def test_an_unknown_organization_is_named(arguments: tuple[str, ...]) -> None:
    assert run(*arguments, code=78) == "Organization not found: globex\n"


@pytest.mark.parametrize(
    "arguments", [("org", "create", "acme"), ("org", "list"), ("integration", "list", "acme"), ("quota", "show")]
)
def test_without_a_database_the_variable_is_named(
    bigquery_settings: BigQuerySettings, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.delenv("PIPELINES_DATABASE_URL")
    assert run(*arguments, code=78) == "settings of the environment: PIPELINES_DATABASE_URL: Field required\n"


def test_a_database_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/d")
    said = run("integration", "list", "acme", code=78)
    assert "secret" not in said
    assert "Traceback" not in said


def test_a_database_without_the_tables_is_a_sentence(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_DATABASE_URL", empty_database_url)
    assert run("org", "list", code=78) == 'PostgreSQL: relation "organizations" does not exist\n'
