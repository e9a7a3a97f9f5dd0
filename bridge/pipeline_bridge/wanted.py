"""A run as it is asked for over HTTP, whoever asks: by its pipeline, or by a schedule."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipeline_bridge.run_objects import ScheduleRef, object_parameters
from pipeline_core.schedules.parameters import resolve_parameters


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """A client's key for a request, and what tells the request from others (`bodies.fingerprint`)."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run as it was asked for. `pipeline` is a stem or a `pipeline.name`.

    `template` holds further fields of the PipelineRun's spec: `timeoutSeconds`, `maxRetries`, `priority`,
    `ttlSecondsAfterFinished`.
    """

    provider: str
    domain: str
    pipeline: str
    parameters: Mapping[str, object]
    schedule: ScheduleRef | None = None
    template: Mapping[str, int] = field(default_factory=dict)
    idempotency_key: IdempotencyKey | None = None
    request_id: str
    traceparent: str | None = None

    def parameters_of(self, *, org: str, env: str, run_id: str, logical_time: datetime) -> dict[str, int | str]:
        """What the run of this id is given: templates stand in a schedule's parameters, and in nobody else's.

        Raises ParametersInvalidError.
        """
        given = object_parameters(self.parameters)
        if self.schedule is None:
            return given
        return resolve_parameters(given, org_slug=org, env=env, run_id=run_id, logical_time=logical_time)
