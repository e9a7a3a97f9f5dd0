"""Settings of the embedded services when they run as one container."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline_local.services.bigquery import PROJECT
from pipeline_local.services.processes import LOOPBACK


class ServicesSettings(BaseSettings):
    """`PIPELINES_DEV_*`: where the services listen, where they keep their data, and the database's password."""

    model_config = SettingsConfigDict(env_prefix="PIPELINES_DEV_", extra="ignore")

    host: str = LOOPBACK
    """The address that all listen on: 127.0.0.1 with host network, else 0.0.0.0."""
    postgres_port: int = Field(default=5432, gt=0, lt=65536)
    bigquery_port: int = Field(default=9050, gt=0, lt=65536)
    bigquery_grpc_port: int = Field(default=9060, gt=0, lt=65536)
    simulators_port: int = Field(default=9070, gt=0, lt=65536)
    simulators_seed: int = 0
    """What the simulated providers' data is made from."""
    bigquery_trouble_seed: int | None = None
    """Where it is set, requests to BigQuery meet trouble that is made from it."""
    postgres_password: SecretStr = Field(min_length=1)
    data: Path = Path("/data")
    bigquery_project: str = Field(default=PROJECT, min_length=1)
