"""Builds the status of a PipelineRun, and tells whether it differs from the one that is there."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline_core.lifecycle.observed import Run
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason

Status = dict[str, Any]

# A message of a provider may be long; etcd isn't the place for it.
_MESSAGE_MAX = 4096


def format_time(value: datetime) -> str:
    """RFC 3339 in UTC to the second, as Kubernetes writes times."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ")


def format_duration(seconds: float) -> str:
    """`42s`, `3m05s`, `1h02m`: short enough for a column, and it sorts a person's eye."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def condition(kind: str, status: str, reason: str, message: str, generation: int) -> Status:
    """A metav1.Condition, but for its lastTransitionTime, which `merge` sets."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message[:_MESSAGE_MAX],
        "observedGeneration": generation,
    }


def admitted(run: Run, error: tuple[str, str] | None = None) -> Status:
    """The condition `Admitted`: True, or False with the reason and the words of the refusal."""
    if error is None:
        return condition("Admitted", "True", Reason.ADMITTED, "The run was admitted", run.generation)
    return condition("Admitted", "False", error[0], error[1], run.generation)


def succeeded(run: Run, phase: Phase, reason: str, message: str) -> Status:
    """The condition `Succeeded`: Unknown until the run's end."""
    state = {Phase.COMPLETED: "True", Phase.FAILED: "False", Phase.CANCELLED: "False"}.get(phase, "Unknown")
    return condition("Succeeded", state, reason, message, run.generation)


def build_status(
    run: Run,
    phase: Phase,
    conditions: list[Status],
    *,
    message: str,
    started_at: datetime | None = None,
    completed_at: datetime | None = None,
    records: int | None = None,
    progress: int | None = None,
    attempts: int | None = None,
    job_name: str | None = None,
) -> Status:
    """The fields to write; what isn't known is left out and so left as it is."""
    status: Status = {
        "phase": phase.value,
        "runId": run.run_id,
        "observedGeneration": run.generation,
        "message": message[:_MESSAGE_MAX],
        "conditions": conditions,
    }
    optional = {
        "startedAt": format_time(started_at) if started_at else None,
        "completedAt": format_time(completed_at) if completed_at else None,
        "duration": format_duration((completed_at - started_at).total_seconds())
        if started_at and completed_at
        else None,
        "recordsProcessed": records,
        "progress": progress,
        "attempts": attempts,
        "jobName": job_name,
    }
    return status | {name: value for name, value in optional.items() if value is not None}


def merge(current: Mapping[str, Any], wanted: Status, now: datetime) -> Status | None:
    """The patch that turns `current` into `wanted`, or None where nothing would change.

    Conditions are merged by type, and lastTransitionTime moves only with the condition's status: a tool that waits
    on it isn't woken by a message.
    """
    before = {c["type"]: c for c in current.get("conditions") or ()}
    merged = dict(before)
    for new in wanted["conditions"]:
        old = before.get(new["type"])
        same = old is not None and old.get("status") == new["status"]
        changed_at = old["lastTransitionTime"] if old is not None and same else format_time(now)
        merged[new["type"]] = {**new, "lastTransitionTime": changed_at}
    patch = {name: value for name, value in wanted.items() if name != "conditions" and current.get(name) != value}
    if merged != before:
        patch["conditions"] = list(merged.values())
    return patch or None
