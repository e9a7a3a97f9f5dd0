"""Settings of the runner's process, from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline_core.credentials import names
from pipeline_core.outcome import TERMINATION_MESSAGE_PATH
from pipeline_core.run_document import RUN_DOCUMENT_PATH
from pipeline_core.settings import BigQuerySettings, ProcessorPackages
from pipeline_runner.errors import ConfigError


class RunnerSettings(BaseSettings):
    """`PIPELINES_*`: where the run document is, where the outcome goes, who hears of the progress, and which
    packages may bring processors.

    `TRACEPARENT`: where the run stands in its caller's trace.
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_", extra="ignore", env_ignore_empty=True)

    run_document: Path = Path(RUN_DOCUMENT_PATH)
    termination_log: Path = Path(TERMINATION_MESSAGE_PATH)
    progress_url: str | None = Field(default=None, pattern="^https?://")
    progress_token: SecretStr | None = None
    processor_packages: ProcessorPackages = []
    log_level: str = "info"
    # Of the request that asked for the run, for its log lines.
    request_id: str | None = None
    traceparent: str | None = Field(default=None, validation_alias="TRACEPARENT")


class PodSettings(BaseSettings):
    """`POD_UID`: which pod this is, through the downward API; empty outside of a cluster."""

    model_config = SettingsConfigDict(env_prefix="POD_", extra="ignore")

    uid: str = ""


class QueryLimits(BaseSettings):
    """`PIPELINES_BIGQUERY_*`: how much a query may read, and how long BigQuery may be away.

    `max_bytes_billed`: BigQuery refuses a query that would read more; no limit by default. `retry_seconds`: for how
    long each call is tried again before the attempt at the run ends and Kubernetes makes another.
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_BIGQUERY_", extra="ignore", env_ignore_empty=True)

    max_bytes_billed: int | None = Field(default=None, gt=0)
    # Three attempts (the default of maxRetries) sit out more than ten minutes.
    retry_seconds: float = Field(default=240.0, gt=0)


class ApiSettings(BaseSettings):
    """`PIPELINES_API_*`: how a provider's HTTP API is asked, and how long it may be away.

    `retry_seconds`: for how long each request is tried again before the attempt at the run ends and Kubernetes makes
    another. `max_wait_seconds`: the longest single wait; a provider that asks for more ends the attempt at once.
    `answer_seconds`: for one whole answer, however steadily it trickles. `max_body_bytes`: of an answer, unpacked.
    `allow_http`: lets keys travel unencrypted, which only the local profile's simulators need.
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_API_", extra="ignore", env_ignore_empty=True)

    allow_http: bool = False
    connect_seconds: float = Field(default=10.0, gt=0)
    read_seconds: float = Field(default=60.0, gt=0)
    answer_seconds: float = Field(default=180.0, gt=0)
    max_wait_seconds: float = Field(default=120.0, gt=0)
    retry_seconds: float = Field(default=240.0, gt=0)
    max_body_bytes: int = Field(default=64 * 1024 * 1024, gt=0)


class CredentialSettings(BaseSettings):
    """`PIPELINES_CREDENTIALS_*`: where the run's credentials are, and what opens a sealed one. No secret is here.

    `kms_key` names each organization's key in Cloud KMS, with `{org}` in it; empty: none is used. `kms_endpoint` is
    Cloud KMS's: `host:port`, or `http://host:port` for a stand-in without TLS; empty means Google's.
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_CREDENTIALS_", extra="ignore", env_ignore_empty=True)

    directory: Path = Path(names.CREDENTIALS_PATH)
    keyset: Path = Path(names.KEYSET_PATH, names.KEYSET_FILE)
    kms_key: str = ""
    kms_endpoint: str = ""


def bigquery_settings() -> BigQuerySettings:
    """How to reach BigQuery. Raises ConfigError, naming the variables, where the environment doesn't say it."""
    try:
        return BigQuerySettings()
    except ValidationError as error:
        raise ConfigError(f"the environment lacks settings: {_problems('PIPELINES_BIGQUERY_', error)}") from None


def api_settings() -> ApiSettings:
    """How a provider's API is asked. Raises ConfigError naming the variables that are wrong."""
    try:
        return ApiSettings()
    except ValidationError as error:
        raise ConfigError(f"the environment has wrong settings: {_problems('PIPELINES_API_', error)}") from None


def credential_settings() -> CredentialSettings:
    """Where credentials are. Raises ConfigError naming the variables that are wrong."""
    try:
        return CredentialSettings()
    except ValidationError as error:
        raise ConfigError(f"the environment has wrong settings: {_problems('PIPELINES_CREDENTIALS_', error)}") from None


def _problems(prefix: str, error: ValidationError) -> str:
    return "; ".join(f"{prefix}{each['loc'][-1]}".upper() + f": {each['msg']}" for each in error.errors())
