"""The organization's own service account, where its credentials hold a key: it reads the source instead of us.

A key is data of the organization's, so it decides neither where a token is asked for nor whose endpoint is read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from google.auth.credentials import AnonymousCredentials, Credentials
from google.oauth2 import service_account
from pydantic import SecretStr

from pipeline_core.settings import BigQuerySettings
from pipeline_runner.bigquery.warehouse import Identity, Warehouse
from pipeline_runner.errors import ConfigError

FIELD = "service_account.json"
# Where Google gives tokens for keys.
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105
_EXPECTED = "expected the key of a service account as Google gives it, JSON of type service_account"
_NEEDED = ("project_id", "client_email", "private_key")
_SCOPE = "https://www.googleapis.com/auth/bigquery"


@dataclass(frozen=True)
class ServiceAccount:
    """Whose key it is, and the project that its jobs and reads are made in, and billed to."""

    project: str
    email: str
    signed: Credentials

    @classmethod
    def read(cls, key: SecretStr) -> Self:
        """Read a key. Raises ConfigError, which shows nothing of it, where it isn't one that can be used."""
        content = _content(key)
        project, email = str(content["project_id"]), str(content["client_email"])
        try:
            # Google's own address, whatever the key says: elsewhere somebody else would be asked from within here.
            info = {**content, "token_uri": TOKEN_URI, "universe_domain": "googleapis.com"}
            signed = service_account.Credentials.from_service_account_info(info, scopes=[_SCOPE])
        except Exception:
            # What the library says may quote the key.
            raise ConfigError(f"{FIELD}: its private_key can't be read; {_EXPECTED}") from None
        return cls(project, email, signed)

    def warehouse(self, settings: BigQuerySettings, identity: Identity, **limits: Any) -> Warehouse:
        """BigQuery as this account sees it, in the account's project."""
        # A stand-in without identities is reached without any.
        credentials = AnonymousCredentials() if settings.credentials == "anonymous" else self.signed
        own = settings.model_copy(update={"project": self.project})
        return Warehouse(own, identity, credentials=credentials, **limits)


def _content(key: SecretStr) -> Mapping[str, object]:
    try:
        content = json.loads(key.get_secret_value())
    except (ValueError, RecursionError):
        raise ConfigError(f"{FIELD} isn't JSON; {_EXPECTED}") from None
    if not isinstance(content, dict) or content.get("type") != "service_account":
        raise ConfigError(f"{FIELD} is of another type; {_EXPECTED}")
    for name in _NEEDED:
        if not isinstance(content.get(name), str) or not content[name]:
            raise ConfigError(f"{FIELD} has no {name}; {_EXPECTED}")
    return content
