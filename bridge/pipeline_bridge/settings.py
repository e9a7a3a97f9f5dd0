"""The bridge's settings, from the environment (`PIPELINES_*`, `POD_*`)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline_core import identifiers
from pipeline_core.admission.tenancy import TenancyMode
from pipeline_core.settings import Names, Pepper, ProcessorPackages


class BridgeSettings(BaseSettings):
    """One process of the bridge. Seconds where a number is a time."""

    # The input stays out of errors: one field is a secret.
    model_config = SettingsConfigDict(env_prefix="PIPELINES_", extra="ignore", hide_input_in_errors=True)

    env: Annotated[str, Field(pattern=f"^{identifiers.ENV.pattern}$")]
    # Namespaces that the operator watches; none means all of them.
    namespaces: Names = []
    tenancy: TenancyMode = TenancyMode.SHARED
    catalog_dir: Path = Path("/etc/pipelines/configs")
    processor_packages: ProcessorPackages = []
    # Keys are stored as an HMAC of their secret with this.
    api_key_pepper: Pepper
    http_host: str = "0.0.0.0"  # noqa: S104 - inside a pod; the chart narrows it where the pod shares the node's network
    http_port: int = 8001
    metrics_port: int = 8002
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    # Of a key that has no rate of its own, in each process.
    requests_per_minute: Annotated[int, Field(ge=1)] = 600
    max_body_bytes: Annotated[int, Field(ge=1_024)] = 64 * 1024
    # For how long a key is taken to be what it was: as long may a revoked one go on.
    key_cache_seconds: Annotated[float, Field(ge=0, le=300)] = 5.0
    # Streams of events and of logs that one process serves at a time.
    max_streams: Annotated[int, Field(ge=1)] = 200
    # Open ones, of at most 2,200 in all. A proxy whose X-Forwarded-For is believed (FORWARDED_ALLOW_IPS) has no limit
    # of its own; another one in front needs so many for all of its clients.
    max_connections_per_address: Annotated[int, Field(ge=1)] = 500
    pod_namespace: Annotated[str, Field(validation_alias="POD_NAMESPACE")] = "default"

    @property
    def home_namespace(self) -> str:
        """Where objects are made in a shared installation."""
        return self.namespaces[0] if self.namespaces else self.pod_namespace
