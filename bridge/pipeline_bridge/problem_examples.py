"""The problems as the documentation of the API shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_REF = "#/components/schemas/Problem"

# Other members may follow, so it isn't closed.
SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "Why a request was refused (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Names the kind of problem; stable."},
        "title": {"type": "string", "description": "The kind of problem in words."},
        "status": {"type": "integer", "description": "The status code of this answer."},
        "detail": {"type": "string", "description": "What is wrong with this request."},
        "instance": {"type": "string", "description": "The path that was asked for."},
        "request_id": {"type": "string", "description": "As in the header `X-Request-Id`; the log has it too."},
        "run_id": {"type": "string", "description": "Of a run that may have been started nevertheless."},
        "errors": {
            "type": "array",
            "description": "The fields that are wrong.",
            "items": {
                "type": "object",
                "required": ["field", "expected"],
                "properties": {
                    "field": {"type": "string"},
                    "value": {"description": "What was given; long values are shortened."},
                    "expected": {"type": "string"},
                },
            },
        },
        "more_errors": {"type": "integer", "description": "How many more fields are wrong than `errors` has."},
        "limit": {
            "type": "object",
            "description": "The limit of the plan that is reached.",
            "required": ["name", "limit", "used", "remaining"],
            "properties": {
                "name": {"type": "string", "enum": ["daily", "monthly", "concurrent"]},
                "limit": {"type": "integer"},
                "used": {"type": "integer"},
                "remaining": {"type": "integer"},
            },
        },
        "remaining": {
            "type": "object",
            "description": "How many runs each limit of the plan still allows.",
            "properties": {name: {"type": "integer"} for name in ("daily", "monthly", "concurrent")},
        },
        "managed_by": {"type": "string", "description": "What manages the schedule."},
    },
}


@dataclass(frozen=True, slots=True)
class Example:
    """A refusal of one reason; `title` where it isn't the reason in words."""

    reason: str
    detail: str
    title: str | None = None
    instance: str = "/api/v1/pipelines/run/acme/gcp/cost/billing"
    members: Mapping[str, object] = field(default_factory=dict)


_RUN = "/api/v1/pipelines/status/acme/run_0f8c1e5b7a924d06b3d1c2a4e6f80917"
_SCHEDULE = "/api/v1/scheduler/schedule/sch_5a0c3e1f9b7d4e26a8c4f0d2b6e81357"
_BACKFILL = "/api/v1/scheduler/backfill/sch_5a0c3e1f9b7d4e26a8c4f0d2b6e81357"

EXAMPLES: Mapping[int, tuple[Example, ...]] = {
    400: (Example("MalformedJson", "body: expected JSON: Expecting value at line 1, column 9"),),
    401: (Example("NotAuthenticated", "A valid key in the header X-API-Key is needed"),),
    403: (
        Example("ScopeMissing", "This needs a key with the scope 'run'; the key has: read"),
        Example("OtherOrganization", "The key isn't one of organization 'globex'"),
        Example(
            "SubscriptionInactive",
            "Pipeline execution not allowed for SUSPENDED organizations",
            title="Organization subscription is SUSPENDED",
        ),
        Example("OrganizationNotFound", "Organization not found: acme"),
    ),
    404: (
        Example(
            "PipelineNotFound", "Pipeline not found: gcp/cost/invoices", title="Pipeline not found: gcp/cost/invoices"
        ),
        Example("UnknownProvider", "Unknown provider: gcq", title="Unknown provider: gcq"),
        Example("RunNotFound", "Run not found: run_0f8c1e5b7a924d06b3d1c2a4e6f80917", instance=_RUN),
        Example(
            "LogsGone",
            "No pod of run_0f8c1e5b7a924d06b3d1c2a4e6f80917 is left, and its logs went with them; or it ended "
            "before it had one",
            instance="/api/v1/pipelines/logs/acme/run_0f8c1e5b7a924d06b3d1c2a4e6f80917",
        ),
        Example("ScheduleNotFound", "Schedule not found: sch_5a0c3e1f9b7d4e26a8c4f0d2b6e81357", instance=_SCHEDULE),
        Example(
            "BackfillNotFound", "No backfill is under way: sch_5a0c3e1f9b7d4e26a8c4f0d2b6e81357", instance=_BACKFILL
        ),
    ),
    409: (
        Example("IntegrationNotActive", "gcp integration not active", title="gcp integration not active"),
        Example("TemplateInvalid", "the integration has no setting 'billing_project_id'"),
        Example(
            "NoNamespace",
            "Organization acme has no namespace in this installation: expected a namespace to have the label "
            "pipelines.dev/org=acme",
            title="No namespace for the organization",
        ),
        Example("Conflict", "The object was changed or made by another at the same moment; read it and try again"),
        Example(
            "NameTaken",
            "name: 'nightly' is taken by another schedule; expected a name that is free, or none",
            title="A schedule of this name exists",
            instance="/api/v1/scheduler/schedule",
        ),
        Example(
            "ManagedByGitOps",
            "Schedule nightly is managed by Argo CD: it is to be changed or deleted there, since what is done here "
            "would be undone or contradict it",
            title="The schedule is managed elsewhere",
            instance=_SCHEDULE,
            members={"managed_by": "Argo CD"},
        ),
        Example(
            "BackfillUnderWay",
            "Backfill october of schedule nightly is under way: expected it to end, or to be stopped, before another "
            "begins",
            title="Another backfill is under way",
            instance=_BACKFILL,
        ),
        Example(
            "BackfillIdUsed",
            "id: 'october' is that of the schedule's last backfill, and it is completed: expected another id",
            title="The backfill's id was used",
            instance=_BACKFILL,
        ),
    ),
    413: (Example("BodyTooLarge", "The body has more than 65536 bytes"),),
    415: (Example("UnsupportedMediaType", "Content-Type: 'text/plain', expected application/json"),),
    422: (
        Example(
            "RequestInvalid",
            "limit: '0' isn't a number from 1 to 500",
            instance="/api/v1/pipelines/history/acme",
            members={"errors": [{"field": "limit", "value": "0", "expected": "a number from 1 to 500"}]},
        ),
        Example("ParametersInvalid", "unknown parameter 'dat'; known: date, start_date, end_date"),
        Example(
            "IdempotencyKeyReused",
            "Idempotency-Key 'nightly-1' was used for another request in the last 24 hours: expected a new key for a "
            "new request, or the same request again",
            title="Idempotency-Key was used for another request",
        ),
        Example("RefusedByKubernetes", "spec.timeoutSeconds: Invalid value: 5: should be greater than or equal to 60"),
    ),
    429: (
        Example(
            "DailyLimitReached",
            "Daily pipeline limit (20) reached",
            title="Daily pipeline limit reached",
            members={
                "limit": {"name": "daily", "limit": 20, "used": 20, "remaining": 0},
                "remaining": {"daily": 0, "monthly": 480, "concurrent": 2},
            },
        ),
        Example("RateLimited", "More than 600 requests a minute with this key"),
        Example("TooManyStreams", "This process serves as many streams as it may (200)", instance=_RUN),
    ),
    502: (Example("KubernetesRefused", "The Kubernetes API refuses the bridge; an operator has to mend it"),),
    503: (
        Example("StoreUnavailable", "The store can't be reached; try again later"),
        Example("KubernetesUnavailable", "The Kubernetes API can't be reached; try again later"),
        Example("CatalogUnusable", "The catalog of pipelines can't be used; an operator has to mend it"),
    ),
}

_SECONDS = {"schema": {"type": "integer", "minimum": 0}}
HEADERS: Mapping[int, Mapping[str, Any]] = {
    401: {"WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds until asking again may help.", **_SECONDS}},
    503: {"Retry-After": {"description": "Seconds until asking again may help.", **_SECONDS}},
}
