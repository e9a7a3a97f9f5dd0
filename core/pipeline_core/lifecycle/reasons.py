"""The fixed set of reasons of the conditions `Admitted` and `Succeeded`; tools and alerts may rely on them.

Refusals use the reasons of `pipeline_core.errors`.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a condition has its status."""

    # Admitted=True
    ADMITTED = "Admitted"
    # Admitted=False, for now
    WAITING_FOR_QUOTA = "WaitingForQuota"
    # Admitted=Unknown
    QUOTA_UNAVAILABLE = "QuotaUnavailable"
    # Succeeded=Unknown
    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    RETRYING = "Retrying"
    CANCELLING = "Cancelling"
    # Succeeded=True
    COMPLETED = "Completed"
    # Succeeded=False
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"
    TIMED_OUT = "TimedOut"
    PROCESSOR_FAILED = "ProcessorFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    KILLED = "Killed"
    EVICTED = "Evicted"
    POD_LOST = "PodLost"
    NO_OUTCOME = "NoOutcome"
    START_FAILED = "StartFailed"
    UNSCHEDULABLE = "Unschedulable"
    JOB_SUSPENDED = "JobSuspended"
    JOB_DELETED = "JobDeleted"
    JOB_REFUSED = "JobRefused"
    JOB_FAILED = "JobFailed"
