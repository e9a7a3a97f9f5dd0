"""The operator's metrics; docs/operations/metrics.md says what each means. No label holds a run's or tenant's name."""

from datetime import datetime
from typing import Literal

from prometheus_client import Counter, Gauge, Histogram

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.schedules.observed import Cause, MissedReason
from pipeline_core.store.runs import StoredRun

_CALL_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 30.0)
_SKEW_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 300.0, 3600.0)
_DELAY_BUCKETS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0)
_RUN_BUCKETS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 21600.0)

RUNS_FINISHED = Counter("pipelines_runs_finished_total", "Runs that ended.", ["phase", "reason"])
RUNS_REJECTED = Counter("pipelines_runs_rejected_total", "Runs that were refused.", ["reason"])
RUN_SECONDS = Histogram(
    "pipelines_run_duration_seconds", "From a run's creation to its end.", ["phase"], buckets=_RUN_BUCKETS
)
RUN_START_SECONDS = Histogram(
    "pipelines_run_start_delay_seconds", "From a run's creation to its container's start.", buckets=_DELAY_BUCKETS
)
RUN_REPORT_SECONDS = Histogram(
    "pipelines_run_report_delay_seconds", "From a run's end to its final status.", buckets=_DELAY_BUCKETS
)

QUOTA_RESERVATIONS = Counter("pipelines_quota_reservations_total", "Slots that runs have got.")
QUOTA_HELD = Gauge("pipelines_quota_slots_held", "Slots that runs hold, as of the last look at all of them.")
QUOTA_WAITING = Gauge("pipelines_quota_waiting_runs", "Runs with quotaPolicy Queue that wait for a slot.")
QUOTA_HEALS = Counter("pipelines_quota_heals_total", "Slots given back that nothing held any more.")
QUOTA_DRIFT = Gauge("pipelines_quota_drift", "Counters of organizations that differ from the ledger.")

SCHEDULE_TICKS = Counter("pipelines_schedule_ticks_total", "Runs that were made of schedules.", ["cause"])
SCHEDULE_MISSED = Counter("pipelines_schedule_missed_total", "Ticks that have no run.", ["reason"])
SCHEDULE_SKEW = Histogram(
    "pipelines_schedule_skew_seconds", "From a tick's time to what is made for it.", ["step"], buckets=_SKEW_BUCKETS
)

RECONCILES = Counter("pipelines_reconciles_total", "Reconciles of runs and schedules.", ["outcome"])
RECONCILE_SECONDS = Histogram("pipelines_reconcile_seconds", "Time of one reconcile.", buckets=_CALL_BUCKETS)
QUEUE_DEPTH = Gauge("pipelines_queue_depth", "Runs that wait for a worker or have one.")
QUEUE_OLDEST_SECONDS = Gauge("pipelines_queue_oldest_seconds", "How long the most overdue run has waited for a worker.")

API_REQUESTS = Counter("pipelines_api_requests_total", "Calls to the Kubernetes API.", ["verb", "resource", "code"])
API_REQUEST_SECONDS = Histogram(
    "pipelines_api_request_seconds",
    "Time of one call to the Kubernetes API.",
    ["verb", "resource"],
    buckets=_CALL_BUCKETS,
)
STORE_CALLS = Counter("pipelines_store_calls_total", "Calls to PostgreSQL.", ["call", "outcome"])
STORE_CALL_SECONDS = Histogram(
    "pipelines_store_call_seconds", "Time of one call to PostgreSQL.", ["call"], buckets=_CALL_BUCKETS
)

WATCH_EVENTS = Counter("pipelines_watch_events_total", "Objects that a watch has shown.", ["kind"])
WATCH_BEHIND_SECONDS = Gauge(
    "pipelines_watch_behind_seconds", "How long a watch has not shown what the API server has told of.", ["kind"]
)
SWEEP_SUCCEEDED = Gauge("pipelines_sweep_last_success_timestamp_seconds", "When the last sweep ended well.")
NAMESPACES_LEFT_OUT = Gauge(
    "pipelines_namespaces_left_out", "Watched namespaces that can't be worked in, by what they are.", ["reason"]
)
RECORDS_OUT_OF_REACH = Gauge(
    "pipelines_records_out_of_reach", "Unfinished records of runs in namespaces that can't be worked in."
)
PROGRESS_MESSAGES = Counter("pipelines_progress_messages_total", "Progress messages of runners.", ["result"])

LEADER = Gauge("pipelines_leader", "Whether this process is the leader.")
UNHEALTHY = Gauge("pipelines_unhealthy", "Whether this process asks to be restarted.")
LOOP_LAG_SECONDS = Gauge("pipelines_event_loop_lag_seconds", "How late the event loop runs.")
CATALOG_INVALID = Gauge(
    "pipelines_catalog_invalid", "Whether the newest catalog was refused; the last good one is used."
)

# A series that begins with its first increment has never grown: `increase` would miss the first failures of each kind.
_NOT_FAILED = {
    Reason.ADMITTED, Reason.WAITING_FOR_QUOTA, Reason.QUOTA_UNAVAILABLE, Reason.PENDING, Reason.STARTING,
    Reason.RUNNING, Reason.RETRYING, Reason.CANCELLING, Reason.COMPLETED, Reason.CANCELLED,
}  # fmt: skip
RUNS_FINISHED.labels(Phase.COMPLETED.value, Reason.COMPLETED.value)
RUNS_FINISHED.labels(Phase.CANCELLED.value, Reason.CANCELLED.value)
for _reason in Reason:
    if _reason not in _NOT_FAILED:
        RUNS_FINISHED.labels(Phase.FAILED.value, _reason.value)


for _cause in Cause:
    SCHEDULE_TICKS.labels(_cause.value)
for _missed in MissedReason:
    SCHEDULE_MISSED.labels(_missed.value)
for _step in ("run", "job"):
    SCHEDULE_SKEW.labels(_step)


def skew_seen(step: Literal["run", "job"], due_at: datetime, now: datetime) -> None:
    """Count how long after a tick was due its run, or its run's Job, was made."""
    SCHEDULE_SKEW.labels(step).observe(max(0.0, (now - due_at).total_seconds()))


def run_ended(run: StoredRun, now: datetime) -> None:
    """Count a run whose final status has just been written."""
    RUNS_FINISHED.labels(run.phase.value, run.reason or run.phase.value).inc()
    if run.completed_at is None:
        return
    RUN_SECONDS.labels(run.phase.value).observe((run.completed_at - run.created_at).total_seconds())
    if run.started_at is not None:
        RUN_START_SECONDS.observe((run.started_at - run.created_at).total_seconds())
        RUN_REPORT_SECONDS.observe((now - run.completed_at).total_seconds())
