"""The organization's own key: whose it is, where its token is asked for, and that nothing of a bad one is shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.auth.credentials import AnonymousCredentials
from pydantic import SecretStr

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.service_account import TOKEN_URI, ServiceAccount
from pipeline_runner.bigquery.warehouse import Identity
from pipeline_runner.credentials import Credentials
from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.gcp.external_bq_extractor import ExternalBQExtractor
from pipeline_runner.settings import CredentialSettings

IDENTITY = Identity("acme", "run_1", "a")


@pytest.fixture(scope="module")
def key() -> dict[str, str]:
    made = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "type": "service_account",
        "project_id": "customer-project",
        "client_email": "reader@customer-project.iam.gserviceaccount.com",
        "private_key_id": "0123456789",
        "private_key": made.decode(),
        "token_uri": "https://elsewhere.example/token",
        "universe_domain": "elsewhere.example",
    }


def read(content: Any) -> ServiceAccount:
    return ServiceAccount.read(SecretStr(content if isinstance(content, str) else json.dumps(content)))


def test_it_works_in_the_keys_project_and_asks_nobody_but_google(key: dict[str, str]) -> None:
    account = read(key)
    assert (account.project, account.email) == (key["project_id"], key["client_email"])
    warehouse = account.warehouse(BigQuerySettings(project="ours"), IDENTITY)
    assert warehouse.settings.project == warehouse.client.project == "customer-project"
    credentials: Any = warehouse.credentials
    assert credentials.service_account_email == key["client_email"]
    assert (credentials._token_uri, credentials.universe_domain) == (TOKEN_URI, "googleapis.com")


def test_a_stand_in_without_identities_is_reached_without_one(key: dict[str, str]) -> None:
    warehouse = read(key).warehouse(BigQuerySettings(project="ours", credentials="anonymous"), IDENTITY)
    assert isinstance(warehouse.credentials, AnonymousCredentials)
    assert warehouse.settings.project == "customer-project"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("sEcReT-not-json", "isn't JSON"),
        ([], "of another type"),
        ({"type": "authorized_user"}, "of another type"),
        ({"project_id": None}, "has no project_id"),
        ({"client_email": 7}, "has no client_email"),
        ({"private_key": ""}, "has no private_key"),
        ({"private_key": "sEcReT-not-a-key"}, "its private_key can't be read"),
    ],
)
def test_what_is_no_key_is_refused_and_not_shown(key: dict[str, str], change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        read({**key, **change} if isinstance(change, dict) else change)
    told = f"{refused.value} {refused.value.__cause__}"
    assert "expected the key of a service account" in told
    for text in ("sEcReT", key["private_key"][40:60], key["private_key_id"]):
        assert text not in told


async def test_a_run_whose_secret_lacks_the_key_does_not_read_as_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINES_BIGQUERY_PROJECT", "ours")
    monkeypatch.setenv("PIPELINES_BIGQUERY_CREDENTIALS", "anonymous")
    (tmp_path / "key.json").write_text("of another name")
    source = {"type": "bigquery", "project": "customer", "dataset": "billing", "table": "export"}
    config = {"source": source, "target": {"type": "bigquery", "dataset": "acme_dev", "table": "costs"}}
    processor = ExternalBQExtractor(config, "acme", "run_1")
    settings = CredentialSettings(directory=tmp_path)
    processor.credentials = Credentials("acme", "gcp", settings=settings, secret_name="acme-gcp")
    with pytest.raises(ConfigError, match=r"the Secret acme-gcp has no field service_account\.json; it has key\.json"):
        await processor.validate({"date": "2026-11-01"})
    processor.credentials = Credentials("acme", "gcp", settings=CredentialSettings(directory=tmp_path / "none"))
    await processor.validate({"date": "2026-11-01"})  # names no Secret: the installation's account reads
