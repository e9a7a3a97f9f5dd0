"""The client is imported without the cryptography of service accounts' keys, and knows them where there are some."""

import subprocess
import sys

import pytest

START = "import sys, pipeline_runner.main, pipeline_runner.processors.{module}; print(*sys.modules)"
WITH_KEYS = """
from pipeline_runner.bigquery.library import bigquery
import sys
assert "google.oauth2.service_account" not in sys.modules
from google.auth.transport.requests import AuthorizedSession
from google.oauth2 import service_account
made = []

class Signed(service_account.Credentials):
    def __init__(self):
        pass

    def _create_self_signed_jwt(self, audience):
        made.append(audience)

AuthorizedSession(Signed(), default_host="bigquery")
assert made == ["https://bigquery/"], made
client = bigquery.Client
try:
    client.from_service_account_info({"project_id": "p"})
except Exception as error:
    print(type(error).__name__)
"""


def _output(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.mark.parametrize("module", ["anthropic.usage_processor", "openai.usage_processor"])
def test_a_start_without_keys_loads_no_cryptography(module: str) -> None:
    loaded = _output(START.format(module=module)).split()
    assert "google.cloud.bigquery" in loaded
    assert [name for name in loaded if name.startswith(("cryptography", "google.oauth2.service_account"))] == []


def test_the_client_knows_the_credentials_of_a_key_that_is_read_later() -> None:
    assert _output(WITH_KEYS).strip() == "MalformedError"
