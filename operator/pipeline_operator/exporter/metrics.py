"""The exporter's metrics."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# What a pass fails by.
CAUSES = ("postgresql", "bigquery", "refused", "internal")


class ExporterMetrics:
    """Counters and gauges in a registry of their own; tests have several exporters in one process."""

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lag = 0.0
        self._lag_read_at = clock()
        self.rows = Counter("pipelines_export_rows", "Rows merged into BigQuery.", registry=registry)
        self.batches = Counter("pipelines_export_batches", "MERGE statements that succeeded.", registry=registry)
        self.batch_rows = Histogram(
            "pipelines_export_batch_rows",
            "Rows of a batch.",
            registry=registry,
            buckets=(1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000),
        )
        self.batch_seconds = Histogram(
            "pipelines_export_batch_seconds",
            "Time to merge a batch into BigQuery.",
            registry=registry,
            buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
        )
        self.failures = Counter("pipelines_export_failures", "Passes that failed.", ["cause"], registry=registry)
        for cause in CAUSES:
            self.failures.labels(cause)  # see pipeline_operator.metrics
        self.refused = Gauge(
            "pipelines_export_refused_rows", "Rows that BigQuery refuses, set aside for a while.", registry=registry
        )
        self.active = Gauge("pipelines_export_active", "1 if this exporter had the last turn.", registry=registry)
        self.succeeded = Gauge(
            "pipelines_export_last_success_timestamp_seconds", "When a pass last ended well.", registry=registry
        )
        self.undecided = Gauge(
            "pipelines_undecided_runs", "Deleted runs whose target is to tell how they ended.", registry=registry
        )
        self.verdict_failures = Counter(
            "pipelines_verdict_failures", "Targets that couldn't be asked how runs ended.", registry=registry
        )
        self.pruned = Counter("pipelines_records_pruned", "Old records deleted from PostgreSQL.", registry=registry)
        lag = Gauge(
            "pipelines_export_lag_seconds", "Age of the oldest change that isn't in BigQuery.", registry=registry
        )
        lag.set_function(self.lag)

    def lag(self) -> float:
        """The age of the oldest unexported change now: it grows while PostgreSQL can't be asked."""
        return self._lag + (self._clock() - self._lag_read_at) if self._lag else 0.0

    def observe_lag(self, seconds: float) -> None:
        """Take note of the age that PostgreSQL reports."""
        self._lag, self._lag_read_at = seconds, self._clock()
