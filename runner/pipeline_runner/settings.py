"""Settings of the runner's process, from the environment."""

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline_core.outcome import TERMINATION_MESSAGE_PATH
from pipeline_core.run_document import RUN_DOCUMENT_PATH
from pipeline_core.settings import BigQuerySettings
from pipeline_runner.errors import ConfigError


class RunnerSettings(BaseSettings):
    """`PIPELINES_*`: where the run document is, where the outcome goes, and who hears of the progress.

    `TRACEPARENT`: where the run stands in its caller's trace.
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_", extra="ignore", env_ignore_empty=True)

    run_document: Path = Path(RUN_DOCUMENT_PATH)
    termination_log: Path = Path(TERMINATION_MESSAGE_PATH)
    progress_url: str | None = Field(default=None, pattern="^https?://")
    progress_token: SecretStr | None = None
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


def bigquery_settings() -> BigQuerySettings:
    """How to reach BigQuery. Raises ConfigError, naming the variables, where the environment doesn't say it."""
    try:
        return BigQuerySettings()
    except ValidationError as error:
        problems = (f"PIPELINES_BIGQUERY_{each['loc'][-1]}".upper() + f": {each['msg']}" for each in error.errors())
        raise ConfigError(f"the environment lacks settings: {'; '.join(problems)}") from None
