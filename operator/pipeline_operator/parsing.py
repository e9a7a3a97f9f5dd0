"""Reads Kubernetes' JSON into the domain's values; nothing else in the operator looks into raw objects."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pipeline_core import identifiers, tracing
from pipeline_core.kube import names
from pipeline_core.lifecycle.observed import Job, Pod, Run, RunSpec, RunStatus
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_core.outcome import Outcome

Body = Mapping[str, Any]


def parse_time(value: str | None) -> datetime | None:
    """An RFC 3339 time as an aware datetime."""
    return datetime.fromisoformat(value) if value else None


def _created(body: Body) -> datetime:
    return datetime.fromisoformat(body["metadata"]["creationTimestamp"])


def parse_run(body: Body) -> Run:
    """A PipelineRun that has passed the CRD's schema."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    uid, annotations = metadata["uid"], metadata.get("annotations") or {}
    return Run(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=uid,
        run_id=spec.get("runId") or identifiers.run_id_from_uid(uid),
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 1),
        created_at=_created(body),
        spec=RunSpec(
            org=spec.get("org", ""),
            provider=spec.get("provider", ""),
            domain=spec.get("domain", ""),
            pipeline=spec.get("pipeline", ""),
            parameters=spec.get("parameters") or {},
            logical_time=spec.get("logicalTime"),
            schedule=(spec.get("scheduleRef") or {}).get("name"),
            schedule_uid=(spec.get("scheduleRef") or {}).get("uid"),
            created_by=spec.get("createdBy"),
            run_id=spec.get("runId"),
            timeout_seconds=spec.get("timeoutSeconds"),
            max_retries=spec.get("maxRetries"),
            ttl_seconds=spec.get("ttlSecondsAfterFinished"),
            cancel=bool(spec.get("cancel")),
            priority=spec.get("priority") or 0,
            queues=spec.get("quotaPolicy") == "Queue",
            queue_timeout_seconds=spec.get("queueTimeoutSeconds"),
        ),
        status=RunStatus(
            phase=Phase(status["phase"]) if status.get("phase") else None,
            run_id=status.get("runId"),
            job_name=status.get("jobName"),
            started_at=parse_time(status.get("startedAt")),
            completed_at=parse_time(status.get("completedAt")),
            progress=status.get("progress") or 0,
            attempts=status.get("attempts") or 0,
            admitted_at=_true_since(status, "Admitted"),
            waits_for_quota=_waits_for_quota(status),
        ),
        deleting="deletionTimestamp" in metadata,
        # Annotations are anyone's to write, and go into logs.
        request_id=tracing.request_id(annotations.get(names.ANNOTATION_REQUEST_ID)),
        traceparent=tracing.traceparent(annotations.get(names.ANNOTATION_TRACEPARENT)),
    )


def run_uid_of(body: Body) -> str | None:
    """The UID of the run that a Job or pod was made for."""
    uid = (body["metadata"].get("annotations") or {}).get(names.ANNOTATION_RUN_UID)
    return str(uid) if uid else None


def parse_job(body: Body) -> Job:
    """A run's Job. FailureTarget counts as failed: it comes first, and Failed waits until every pod is gone."""
    metadata, status = body["metadata"], body.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or () if c.get("status") == "True"}
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    counts = (status.get(name) or 0 for name in ("active", "succeeded", "failed"))
    return Job(
        name=metadata["name"],
        uid=metadata["uid"],
        owner=next(
            ((metadata["namespace"], o["name"]) for o in metadata.get("ownerReferences") or () if o.get("controller")),
            None,
        ),
        created_at=_created(body),
        timeout_seconds=body["spec"].get("activeDeadlineSeconds") or 0,
        complete="Complete" in conditions or "SuccessCriteriaMet" in conditions,
        failed=(failed.get("reason", ""), failed.get("message", "")) if failed else None,
        attempts=sum(counts),
        deleting="deletionTimestamp" in metadata,
        suspended=bool(body["spec"].get("suspend")),
        turned_at=_changed_at(status, "Suspended"),
        version=int(metadata["resourceVersion"]),
    )


def parse_pod(body: Body) -> Pod:
    """One attempt of a run."""
    metadata, status = body["metadata"], body.get("status") or {}
    containers = status.get("containerStatuses") or ()
    state = next((c.get("state") or {} for c in containers if c["name"] == names.RUNNER_CONTAINER), {})
    running, ended, waiting = state.get("running") or {}, state.get("terminated") or {}, state.get("waiting")
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        created_at=_created(body),
        phase=status.get("phase", "Pending"),
        started_at=parse_time(running.get("startedAt") or ended.get("startedAt")),
        finished_at=parse_time(ended.get("finishedAt")),
        exit_code=ended.get("exitCode"),
        exit_reason=ended.get("reason"),
        outcome=Outcome.from_message(ended.get("message")),
        waiting=(waiting.get("reason", ""), waiting.get("message", "")) if waiting else _unschedulable(status),
        reason=status.get("reason"),
        scheduled_at=_true_since(status, "PodScheduled"),
        deleting="deletionTimestamp" in metadata,
        # Kubernetes writes the end of the grace period there, not its beginning.
        gone_by=parse_time(metadata.get("deletionTimestamp")),
        node=(body.get("spec") or {}).get("nodeName"),
        version=int(metadata["resourceVersion"]),
    )


def _true_since(status: Body, kind: str) -> datetime | None:
    """Since when a condition is True; None if it isn't."""
    for condition in status.get("conditions") or ():
        if condition["type"] == kind and condition.get("status") == "True":
            return parse_time(condition.get("lastTransitionTime"))
    return None


def _waits_for_quota(status: Body) -> bool:
    conditions = status.get("conditions") or ()
    return any(each["type"] == "Admitted" and each.get("reason") == Reason.WAITING_FOR_QUOTA for each in conditions)


def _changed_at(status: Body, kind: str) -> datetime | None:
    """When a condition became True or False; None if it is neither."""
    for condition in status.get("conditions") or ():
        if condition["type"] == kind:
            return parse_time(condition.get("lastTransitionTime"))
    return None


def _unschedulable(status: Body) -> tuple[str, str] | None:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return "Unschedulable", condition.get("message", "")
    return None
