"""Settings shared by several parts, read from the environment.

The same code runs against Google's services and the stand-ins of the local profile: only these values differ.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline_core.processor_packages import check_names

# As SQLAlchemy reads it: a password may hold what strictly had to be escaped, except "@".
_POSTGRES = re.compile(r"postgres(?:ql)?://(?:[^@]*@)?(?:\[[^]@]+]|[^][:/?@\s]*)(?::\d+)?(?:/[^?\s]*)?(?:\?\S*)?")


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


# Names separated by commas.
Names = Annotated[list[str], NoDecode, BeforeValidator(_split)]
# Distributions that processors may come from, beside the runner's own: `PIPELINES_PROCESSOR_PACKAGES`, the same for
# operator, bridge and runner.
ProcessorPackages = Annotated[Names, AfterValidator(check_names)]


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
    """How to reach PostgreSQL: `PIPELINES_DATABASE_URL`, as `postgresql://user:password@host:port/database`.

    White space around it is dropped: files that Secrets are made from often end with a line break.
    """

    # The input stays out of errors: it holds the password.
    model_config = SettingsConfigDict(env_prefix="PIPELINES_", extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr

    @field_validator("database_url")
    @classmethod
    def _of_postgres(cls, url: SecretStr) -> SecretStr:
        stripped = url.get_secret_value().strip()
        if not _POSTGRES.fullmatch(stripped):
            form = "postgresql://user:password@host:port/database"
            raise PydanticCustomError("database_url", f"PIPELINES_DATABASE_URL isn't of the form {form}")
        return SecretStr(stripped)


_PEPPER_MIN = 32


def _pepper(given: SecretStr) -> SecretStr:
    stripped = given.get_secret_value().strip()
    if len(stripped) < _PEPPER_MIN:
        raise PydanticCustomError("api_key_pepper", f"expected at least {_PEPPER_MIN} characters")
    return SecretStr(stripped)


Pepper = Annotated[SecretStr, AfterValidator(_pepper)]
"""What the secrets of API keys are hashed with; white space around it is dropped, as files often end with some.

Whoever reads it reads it so: a line break more would be another pepper, with which no key is valid.
"""


class ApiKeySettings(BaseSettings):
    """For commands that make API keys: `PIPELINES_API_KEY_PEPPER`, the same as the bridge's."""

    # The input stays out of errors: it is a secret.
    model_config = SettingsConfigDict(env_prefix="PIPELINES_", extra="ignore", hide_input_in_errors=True)

    api_key_pepper: Pepper
