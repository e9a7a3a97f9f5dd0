"""The operator's metrics."""

from prometheus_client import Counter, Gauge, Histogram

RUNS_FINISHED = Counter("pipelines_runs_finished_total", "Runs that ended.", ["phase", "reason"])
RUNS_REJECTED = Counter("pipelines_runs_rejected_total", "Runs that were refused.", ["reason"])
RECONCILES = Counter("pipelines_reconciles_total", "Reconciles of runs.", ["outcome"])
RECONCILE_SECONDS = Histogram("pipelines_reconcile_seconds", "Time of one reconcile.")
API_WRITES = Counter("pipelines_api_writes_total", "Writes to the Kubernetes API.", ["kind"])
QUEUE_DEPTH = Gauge("pipelines_queue_depth", "Runs that wait for a worker or have one.")
QUEUE_OLDEST_SECONDS = Gauge("pipelines_queue_oldest_seconds", "How long the most overdue run has waited for a worker.")
LOOP_LAG_SECONDS = Gauge("pipelines_event_loop_lag_seconds", "How late the event loop runs.")
LEADER = Gauge("pipelines_leader", "Whether this process is the leader.")
CATALOG_INVALID = Gauge(
    "pipelines_catalog_invalid", "Whether the newest catalog was refused; the last good one is used."
)
PROGRESS_MESSAGES = Counter("pipelines_progress_messages_total", "Progress messages of runners.", ["result"])
