"""Settings of the runner's process, from the environment."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline_core.credentials import names
from pipeline_core.outcome import TERMINATION_MESSAGE_PATH
from pipeline_core.run_document import RUN_DOCUMENT_PATH
from pipeline_core.settings import BigQuerySettings, Names, ProcessorPackages
from pipeline_runner.errors import ConfigError

_ORIGIN = re.compile(r"(https?://)?([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:([0-9]{1,5}|\*))?")
_THIS_MACHINE = re.compile(r"(127(\.[0-9]{1,3}){3}|localhost|\[::1\])(:[0-9]{1,5})?")


def _check_origins(given: list[str]) -> list[str]:
    # Imported here: only processors that ask APIs come by, and it is a part of a runner's start.
    import httpx2

    for each in given:
        try:
            # The one knows what numbers of ports there are, the other what addresses are.
            host = each.rpartition("://")[2].removesuffix(":*")
            urlsplit(f"//{host}").port  # noqa: B018
            httpx2.URL(f"https://{host}")
        except (ValueError, httpx2.InvalidURL):
            well_formed = False
        else:
            well_formed = _ORIGIN.fullmatch(each) is not None
        if not well_formed:
            raise ValueError(f"{each!r:.100}: expected HOST, HOST:PORT, or http:// before it, in lower case")
    return given


def _check_kms_endpoint(given: str) -> str:
    # What Cloud KMS is asked and answers are the keys of envelopes.
    scheme, separator, rest = given.partition("://")
    if separator and scheme != "https" and not (scheme == "http" and _THIS_MACHINE.fullmatch(rest)):
        raise ValueError("expected HOST:PORT, which is reached by TLS; http:// only on this machine's loopback")
    return given


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
    another; waits that the provider asks for count apart, up to `max_wait_seconds` in all. `answer_seconds`: for one
    whole answer, however steadily it trickles. `max_body_bytes`: of an answer, unpacked.
    `hosts`: the only ones that keys are sent to, by HTTPS; with `http://` before it one without, which only simulators
    need. Without a port it is the scheme's own, `:*` is any.
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_API_", extra="ignore", env_ignore_empty=True)

    hosts: Annotated[Names, AfterValidator(_check_origins)] = ["api.anthropic.com", "api.openai.com"]
    connect_seconds: float = Field(default=10.0, gt=0)
    read_seconds: float = Field(default=60.0, gt=0)
    answer_seconds: float = Field(default=180.0, gt=0)
    max_wait_seconds: float = Field(default=900.0, gt=0)
    retry_seconds: float = Field(default=240.0, gt=0)
    max_body_bytes: int = Field(default=16 * 1024 * 1024, gt=0)


class CredentialSettings(BaseSettings):
    """`PIPELINES_CREDENTIALS_*`: where the run's credentials are, and what opens a sealed one. No secret is here.

    `sealed_only`: plain fields are refused. `kms_key` names each organization's key in Cloud KMS, with `{org}` in it;
    empty: none is used. `kms_endpoint` is Cloud KMS's: `host:port`, or `http://127.0.0.1:port` for a stand-in without
    TLS on this machine; empty means Google's.
    """

    model_config = SettingsConfigDict(env_prefix="PIPELINES_CREDENTIALS_", extra="ignore", env_ignore_empty=True)

    directory: Path = Path(names.CREDENTIALS_PATH)
    keyset: Path = Path(names.KEYSET_PATH, names.KEYSET_FILE)
    sealed_only: bool = False
    kms_key: str = ""
    kms_endpoint: Annotated[str, AfterValidator(_check_kms_endpoint)] = ""


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
