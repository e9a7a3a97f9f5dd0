"""A rescan that reads by the Storage API: with the organization's own account, and as of the moment of its look."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.cloud.bigquery_storage_v1 import BigQueryReadClient

from pipeline_core.outcome import ExitCode
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.execution import execute
from pipeline_runner.progress import Progress
from pipeline_runner.settings import CredentialSettings
from support.billing import Billing
from support.rescans import document, jobs_from_now_on, rescan, same_as_source, ten_days

pytestmark = pytest.mark.usefixtures("quick_retries")


@pytest.fixture
def billing(bigquery_settings: BigQuerySettings) -> Billing:
    return ten_days(bigquery_settings)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return jobs_from_now_on(monkeypatch)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests for sessions of the Storage API that runs make from now on."""
    seen: list[dict[str, Any]] = []
    create = BigQueryReadClient.create_read_session

    def noted(self: BigQueryReadClient, **request: Any) -> Any:
        seen.append(request)
        return create(self, **request)

    monkeypatch.setattr(BigQueryReadClient, "create_read_session", noted)
    return seen


async def test_the_organizations_own_account_reads_by_the_storage_api(
    billing: Billing, steps: list[str], sessions: list[dict[str, Any]], tmp_path: Path
) -> None:
    made = rsa.generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = {
        "type": "service_account",
        "project_id": "customer-jobs",
        "client_email": "a@b",
        "private_key": made.decode(),
    }
    (tmp_path / "service_account.json").write_text(json.dumps(key))
    credentials = CredentialSettings(directory=tmp_path)
    outcome, code = await execute(document(billing), Progress(), credentials=credentials)
    assert (outcome.error, outcome.records_processed, code) == (None, 8, ExitCode.OK)
    assert [each["parent"] for each in sessions] == ["projects/customer-jobs"]
    assert "load1" in steps
    assert same_as_source(billing)
    outcome, code = await execute(document(billing, read="query"), Progress(), credentials=credentials)
    assert code is ExitCode.CONFIG
    assert "read with the organization's own service account" in str(outcome.error)
    (tmp_path / "service_account.json").write_text(json.dumps({**key, "private_key": "sEcReT-of-acme"}))
    outcome, code = await execute(document(billing), Progress(), credentials=credentials)
    assert code is ExitCode.CONFIG
    assert "sEcReT" not in str(outcome.error)


async def test_the_storage_api_reads_as_of_the_moment_of_the_look(
    billing: Billing, sessions: list[dict[str, Any]]
) -> None:
    await rescan(billing, read="storage")
    marker = billing.sql(f"SELECT read_at FROM `{billing.dataset}._pipelines_commits`")[0]
    assert [each["read_session"].table_modifiers.snapshot_time for each in sessions] == [marker["read_at"]]
