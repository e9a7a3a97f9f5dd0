"""Builds the PipelineRun of a run that was asked for over HTTP: what `kubectl apply` would have made, with its id."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pipeline_core.errors import ParametersInvalidError
from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from pipeline_core.schedules.observed import Cause
from pipeline_core.store.runs import StoredRun
from pipeline_core.wording import shorten

# The limits of crds/pipelineruns.yaml.
MAX_PARAMETERS = 64
MAX_PARAMETER_CHARACTERS = 1_024
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class ScheduleRef:
    """The PipelineSchedule that a run is made for; the run's object is made in its namespace."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Trace:
    """Which request asked for the run, and where it stands in the caller's trace."""

    request_id: str
    traceparent: str | None = None


class _OfRun(Protocol):
    """A record or a slot."""

    @property
    def run_id(self) -> str: ...

    @property
    def org_slug(self) -> str: ...


def is_object_of(body: Json, run: _OfRun) -> bool:
    """Whether the PipelineRun is the one that was made for this run: its name alone is anybody's to give."""
    spec = body.get("spec") or {}
    return (spec.get("runId"), spec.get("org")) == (run.run_id, run.org_slug)


def object_parameters(parameters: Mapping[str, object]) -> dict[str, int | str]:
    """Parameters in the form of the custom resource: integers of 64 bits as they are, everything else as text.

    Raises ParametersInvalidError for what the API server would refuse.
    """
    if len(parameters) > MAX_PARAMETERS:
        raise ParametersInvalidError(f"expected at most {MAX_PARAMETERS} parameters, got {len(parameters)}")
    return {name: _value(name, value) for name, value in parameters.items()}


def _value(name: str, value: object) -> int | str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return value
    text = str(value)
    if len(text) > MAX_PARAMETER_CHARACTERS:
        raise ParametersInvalidError(
            f"parameter {shorten(name)}: {len(text)} characters; at most {MAX_PARAMETER_CHARACTERS} are allowed"
        )
    return text


def build_run(
    run: StoredRun,
    parameters: Mapping[str, int | str],
    trace: Trace,
    *,
    schedule: ScheduleRef | None = None,
    template: Mapping[str, object] | None = None,
    cancel: bool = False,
) -> Json:
    """The manifest of the run's PipelineRun. The same record and request make the same manifest, whoever asks.

    `parameters` are as `object_parameters` returns them; `template` holds further fields of the spec
    (`timeoutSeconds`, `maxRetries`, `priority`, `ttlSecondsAfterFinished`).
    """
    spec: Json = {
        "org": run.org_slug,
        "provider": run.provider,
        "domain": run.domain,
        "pipeline": run.pipeline,
        "logicalTime": run.created_at.isoformat().replace("+00:00", "Z"),
        "createdBy": run.created_by,
        "quotaPolicy": "Reject",
        "runId": run.run_id,
        **(template or {}),
    }
    labels = {names.LABEL_ORG: run.org_slug, names.LABEL_PROVIDER: run.provider, names.LABEL_RUN_ID: run.run_id}
    annotations = {names.ANNOTATION_REQUEST_ID: trace.request_id}
    if parameters:
        spec["parameters"] = dict(parameters)
    if schedule is not None:
        spec["scheduleRef"] = {"name": schedule.name, "uid": schedule.uid}
        labels[names.LABEL_SCHEDULE] = schedule.name
        annotations[names.ANNOTATION_CAUSE] = Cause.TRIGGER
    if cancel:
        spec["cancel"] = True
    if trace.traceparent is not None:
        annotations[names.ANNOTATION_TRACEPARENT] = trace.traceparent
    metadata = {
        "name": run.object_name,
        "namespace": run.object_namespace,
        "labels": labels,
        "annotations": annotations,
    }
    return {"apiVersion": names.API_VERSION, "kind": names.RUN_KIND, "metadata": metadata, "spec": spec}
