"""PipelineSchedule objects: made of requests, changed by them, and shown as the specification's `PipelineSchedule`."""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline_bridge.models.schedules import PipelineSchedule, ScheduleChange, ScheduleCreate
from pipeline_bridge.run_objects import ScheduleRef, object_parameters
from pipeline_core import identifiers
from pipeline_core.kube import names
from pipeline_core.kube.api import Json

MANAGED_BY = "pipelines-bridge"

_SUFFIX_BYTES = 4
# The fields of a request that the object has under another name, and as they are.
_SPEC_FIELDS = {
    "cron_expression": "cronExpression",
    "is_enabled": "enabled",
    "time_zone": "timeZone",
    "concurrency_policy": "concurrencyPolicy",
    "catch_up": "catchUp",
    "catch_up_limit": "catchUpLimit",
    "starting_deadline_seconds": "startingDeadlineSeconds",
    "stagger_seconds": "staggerSeconds",
    "successful_runs_history_limit": "successfulRunsHistoryLimit",
    "failed_runs_history_limit": "failedRunsHistoryLimit",
}
# Those of the runs that it makes.
_TEMPLATE_FIELDS = {
    "timeout_seconds": "timeoutSeconds",
    "max_retries": "maxRetries",
    "priority": "priority",
    "quota_policy": "quotaPolicy",
    "queue_timeout_seconds": "queueTimeoutSeconds",
}
_TRIGGERED_RUN_FIELDS = ("timeoutSeconds", "maxRetries", "priority", "ttlSecondsAfterFinished")


def schedule_id(schedule: Json) -> str:
    """The id of the schedule that this object is."""
    return identifiers.schedule_id(schedule["metadata"]["uid"])


def generated_name(provider: str, domain: str, pipeline: str) -> str:
    """`<provider>-<domain>-<pipeline>-<8 hexadecimal digits>`, DNS-safe, cut to fit before the digits."""
    suffix = "-" + secrets.token_hex(_SUFFIX_BYTES)
    stem = re.sub(r"[^a-z0-9]+", "-", f"{provider}-{domain}-{pipeline}".lower()).strip("-")
    return stem[: identifiers.OBJECT_NAME_MAX - len(suffix)].rstrip("-") + suffix


def new_schedule(org: str, wanted: ScheduleCreate, *, pipeline: str, annotations: Mapping[str, str]) -> Json:
    """The object to make; `pipeline` is the stem of the config's file."""
    spec = {"org": org, "provider": wanted.provider, "domain": wanted.domain, "pipeline": pipeline}
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.SCHEDULE_KIND,
        "metadata": {
            "name": wanted.name or generated_name(wanted.provider, wanted.domain, pipeline),
            "labels": {
                names.LABEL_ORG: org,
                names.LABEL_PROVIDER: wanted.provider,
                names.LABEL_MANAGED_BY: MANAGED_BY,
            },
            "annotations": dict(annotations),
        },
        "spec": spec | _without_nulls(_spec_of(wanted)),
    }


def spec_patch(schedule: Json, change: ScheduleChange) -> Json:
    """What makes the object's spec as `change` says, when it is merged (RFC 7386)."""
    spec = _spec_of(change)
    if "parameters" in spec:
        # A merge would keep those that aren't named.
        spec["parameters"] = {**dict.fromkeys(schedule["spec"].get("parameters") or {}), **spec["parameters"]}
    return spec


def shown(schedule: Json) -> PipelineSchedule:
    """The schedule as clients see it."""
    spec, status = schedule["spec"], schedule.get("status") or {}
    is_enabled = bool(spec.get("enabled", True))
    return PipelineSchedule(
        schedule_id=schedule_id(schedule),
        provider=spec["provider"],
        domain=spec["domain"],
        pipeline=spec["pipeline"],
        cron_expression=spec["cronExpression"],
        is_enabled=is_enabled,
        last_run_at=_time(status.get("lastRunAt")),
        # Of one that was just turned off the status still says when it would have been.
        next_run_at=_time(status.get("nextRunAt")) if is_enabled else None,
    )


def run_of(schedule: Json) -> tuple[ScheduleRef, Mapping[str, int]]:
    """What ties a run to the schedule, and the fields of the run's spec that the schedule sets."""
    metadata, template = schedule["metadata"], schedule["spec"].get("runTemplate") or {}
    # Not whether the run waits for a slot: whoever triggers one is answered at once.
    fields = {name: template[name] for name in _TRIGGERED_RUN_FIELDS if name in template}
    return ScheduleRef(metadata["namespace"], metadata["name"], metadata["uid"]), fields


def _spec_of(fields: ScheduleCreate | ScheduleChange) -> dict[str, Any]:
    given = {name: getattr(fields, name) for name in fields.model_fields_set}
    spec = {_SPEC_FIELDS[name]: value for name, value in given.items() if name in _SPEC_FIELDS}
    if "parameters" in given:
        spec["parameters"] = object_parameters(given["parameters"])
    if template := {_TEMPLATE_FIELDS[name]: value for name, value in given.items() if name in _TEMPLATE_FIELDS}:
        spec["runTemplate"] = template
    return spec


def _without_nulls(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a new object: null is for those that an object loses."""
    kept = {name: _without_nulls(value) if isinstance(value, dict) else value for name, value in spec.items()}
    return {name: value for name, value in kept.items() if value is not None}


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
