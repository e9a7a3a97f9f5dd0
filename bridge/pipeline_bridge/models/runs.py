"""What the endpoints that start and cancel runs take and give, as the documentation of the API describes it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline_bridge.run_objects import MAX_PARAMETER_CHARACTERS, MAX_PARAMETERS
from pipeline_core.lifecycle.phases import Phase

Status = Literal["pending", "validating", "running", "processing", "completed", "failed", "cancelled"]


class RunStarted(BaseModel):
    """A run that was asked for."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"example": {"run_id": "run_0f8c1e5b7a924d06b3d1c2a4e6f80917", "status": "pending"}},
    )

    run_id: Annotated[str, Field(description="The run's id, by which its status, events and logs are asked for.")]
    status: Annotated[Literal["pending"], Field(description="Where a new run stands.")]


class RunCancelled(BaseModel):
    """Whether a run is cancelled."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"example": {"success": True, "status": "running"}})

    success: Annotated[bool, Field(description="Whether the run will be cancelled; false for one that is over.")]
    status: Annotated[
        Status, Field(description="Where the run stands now. One that is cancelled goes on for a few seconds.")
    ]


def started(run_id: str) -> bytes:
    """A RunStarted, ready to be sent."""
    return b'{"run_id":"%s","status":"pending"}' % run_id.encode()


def cancelled(phase: Phase, *, success: bool) -> bytes:
    """A RunCancelled, ready to be sent."""
    return b'{"success":%s,"status":"%s"}' % (b"true" if success else b"false", phase.word.encode())


def _date(description: str) -> dict[str, Any]:
    return {"type": "string", "format": "date", "description": description, "examples": ["2026-11-21"]}


# Any pipeline's body: which parameters it may have, its config declares.
RUN_BODY: dict[str, Any] = {
    "required": False,
    "description": "Values for the parameters that the pipeline declares (`GET /validator/pipelines`), by name. "
    "Without a body every parameter has its default.",
    "content": {
        "application/json": {
            "schema": {
                "title": "RunParameters",
                "type": "object",
                "maxProperties": MAX_PARAMETERS,
                "properties": {
                    "date": _date("The day to run for. Not together with `start_date` and `end_date`."),
                    "start_date": _date("The first day of a range. Without `end_date` it ends yesterday."),
                    "end_date": _date("The last day of a range, included. Only with `start_date`."),
                },
                "additionalProperties": {
                    "description": "A parameter of the pipeline. A value of another type than the declared one is "
                    'taken where nothing is lost: `"10"` is an integer\'s 10.',
                    "anyOf": [
                        {"type": "string", "maxLength": MAX_PARAMETER_CHARACTERS},
                        {"type": "number"},
                        {"type": "boolean"},
                    ],
                },
            },
            "examples": {
                "one_day": {"summary": "One day", "value": {"date": "2026-11-21"}},
                "range": {"summary": "A range", "value": {"start_date": "2026-11-01", "end_date": "2026-11-21"}},
                "defaults": {"summary": "All parameters by default", "value": {}},
            },
        }
    },
}

# What tells a request from others, and reaches the run's object and its runner's logs.
TRACE_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "X-Request-Id",
        "in": "header",
        "required": False,
        "description": "Names the request in logs, in the answer and on the run's object. One is made up where none is "
        "sent, or one that isn't well formed.",
        "schema": {"type": "string"},
    },
    {
        "name": "traceparent",
        "in": "header",
        "required": False,
        "description": "The caller's place in a trace (W3C Trace Context), which the run's logs carry on.",
        "schema": {"type": "string"},
        "example": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    },
]

_COUNT = {"type": "integer", "minimum": 0}
# Of a 429 for a limit of the plan; one for the key's rate has `Retry-After` alone.
LIMIT_HEADERS: dict[str, Any] = {
    "Retry-After": {
        "description": "Seconds until asking again may help: until the organization's next midnight for the daily "
        "limit, until the first of the month for the monthly one.",
        "schema": _COUNT,
    },
    "X-Quota-Limit": {
        "description": "The limit of the plan that is reached.",
        "schema": {"type": "string", "enum": ["daily", "monthly", "concurrent"]},
    },
    **{
        f"X-Quota-Remaining-{name}": {"description": f"How many runs are left {left}.", "schema": _COUNT}
        for name, left in (("Daily", "today"), ("Monthly", "this month"), ("Concurrent", "at the same time"))
    },
}
