"""Settings shared by several parts, read from the environment.

The same code runs against Google's services and the stand-ins of the local profile: only these values differ.
"""

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class BigQuerySettings(BaseSettings):
    """How to reach BigQuery: `PIPELINES_BIGQUERY_*`.

    The REST endpoint follows `BIGQUERY_EMULATOR_HOST`, which Google's client reads itself. `storage_endpoint` is the
    Storage Read API's: `host:port`, or `http://host:port` for one without TLS; empty means Google's.
    `credentials` is `default` (application default credentials) or `anonymous` (a stand-in without IAM).
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_BIGQUERY_", extra="ignore")

    project: str = Field(min_length=1)
    location: str = "US"
    storage_endpoint: str = ""
    credentials: Literal["default", "anonymous"] = "default"


class DatabaseSettings(BaseSettings):
    """How to reach PostgreSQL: `PIPELINES_DATABASE_URL`, as `postgresql://user:password@host:port/database`."""

    model_config = SettingsConfigDict(env_prefix="PIPELINES_", extra="ignore")

    database_url: SecretStr
