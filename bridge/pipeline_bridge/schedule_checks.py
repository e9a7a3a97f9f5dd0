"""What is asked of a schedule before it is made or changed: can its runs start, may it be changed here."""

from collections.abc import Mapping
from datetime import datetime

from pipeline_bridge.parts import Parts
from pipeline_bridge.problems import Problem
from pipeline_bridge.refused_fields import invalid_fields
from pipeline_bridge.run_objects import object_parameters
from pipeline_core.kube.api import Json
from pipeline_core.kube.gitops import managed_by
from pipeline_core.resolve import RunPlan
from pipeline_core.schedules.plan import plan_schedule


def plan_of(parts: Parts, spec: Json, logical_time: datetime) -> RunPlan:
    """What a run of a schedule with this spec would be at that time, whatever the organization.

    Raises UnknownProviderError, PipelineNotFoundError and ParametersInvalidError.
    """
    return plan_schedule(
        parts.catalog.current(),
        object_parameters(spec.get("parameters") or {}),
        org=spec["org"],
        provider=spec["provider"],
        domain=spec["domain"],
        pipeline=spec["pipeline"],
        env=parts.settings.env,
        logical_time=logical_time,
    )


def check_template(template: Mapping[str, object]) -> None:
    """As the API server does, but in the words of the request."""
    seconds = template.get("queueTimeoutSeconds")
    if seconds is not None and template.get("quotaPolicy") == "Reject":
        expected = "none with the quota_policy Reject, with which no run waits"
        raise invalid_fields([{"field": "queue_timeout_seconds", "value": seconds, "expected": expected}])


def check_unmanaged(schedule: Json) -> None:
    """Refuse to change a schedule that is kept elsewhere. Raises Problem 409 `ManagedByGitOps`."""
    manager = managed_by(schedule["metadata"])
    if manager is None:
        return
    metadata = schedule["metadata"]
    raise Problem(
        409,
        "ManagedByGitOps",
        f"Schedule {metadata['name']} is managed by {manager}: it is to be changed or deleted there, since what is "
        "done here would be undone or contradict it",
        title="The schedule is managed elsewhere",
        members={"managed_by": manager.tool},
    )
