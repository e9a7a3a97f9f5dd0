"""The exporter's settings, read from the environment."""

from datetime import timedelta

from pydantic import Field

from pipeline_core import identifiers
from pipeline_core.settings import DatabaseSettings


class ExporterSettings(DatabaseSettings):
    """`PIPELINES_*`, beside those of BigQuery. Times are in seconds where the name doesn't say otherwise."""

    env: str = Field(pattern=f"^{identifiers.ENV.pattern}$")
    http_host: str = "0.0.0.0"  # noqa: S104 - a pod's probes and scrapes come from outside it
    http_port: int = Field(default=8081, ge=0, le=65535)
    log_level: str = "info"

    records_dataset: str = Field(default="organizations", pattern=r"^[A-Za-z0-9_]{1,1024}$")
    # How late the states of live runs and of schedules may be; ended runs go with the next poll. Each batch is one
    # MERGE, which BigQuery bills as 10 MB at least, so longer is cheaper.
    export_interval: float = Field(default=10.0, gt=0, le=30)
    export_poll: float = Field(default=1.0, gt=0, le=10)
    # How often deleted runs are looked for whose end only their target can tell.
    verdict_poll: float = Field(default=2.0, gt=0, le=60)
    export_batch_rows: int = Field(default=500, ge=1, le=5000)
    record_retention_days: float = Field(default=90.0, ge=1)

    @property
    def live_state_delay(self) -> timedelta:
        """How long a change of a live run or a schedule may wait for further ones."""
        return timedelta(seconds=self.export_interval)

    @property
    def record_retention(self) -> timedelta:
        """How long the record of an ended and exported run is kept in PostgreSQL."""
        return timedelta(days=self.record_retention_days)
