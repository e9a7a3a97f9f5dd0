"""What the endpoints that read runs give: the specification's `PipelineRun` and `PipelineRunStatus`.

The models document; the bodies are made from the records by `*_body`, which leave out what a run doesn't have.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from pipeline_core.store.views import RunStatus, RunSummary

Json = dict[str, Any]

RUN_ID = "run_0f8c1e5b7a924d06b3d1c2a4e6f80917"
Word = Literal["pending", "validating", "running", "processing", "completed", "failed", "cancelled"]

STATUS_EXAMPLES: dict[str, Json] = {
    "Processing": {
        "run_id": RUN_ID,
        "status": "processing",
        "progress": 60,
        "started_at": "2026-11-03T06:00:04Z",
    },
    "Completed": {
        "run_id": RUN_ID,
        "status": "completed",
        "progress": 100,
        "records_processed": 48211,
        "started_at": "2026-11-03T06:00:04Z",
        "completed_at": "2026-11-03T06:00:46.120394Z",
    },
    "Failed": {
        "run_id": RUN_ID,
        "status": "failed",
        "progress": 20,
        "error_message": "ExternalBQExtractor: table acme-billing.exports.gcp_billing_export not found",
        "started_at": "2026-11-03T06:00:04Z",
        "completed_at": "2026-11-03T06:00:09.733021Z",
    },
}
_RUN: Json = {
    "run_id": RUN_ID,
    "org_slug": "acme",
    "provider": "gcp",
    "domain": "cost",
    "pipeline": "billing",
    "status": "completed",
    "started_at": "2026-11-03T06:00:04Z",
    "completed_at": "2026-11-03T06:00:46.120394Z",
    "records_processed": 48211,
    "parameters": {"date": "2026-11-02"},
    "created_at": "2026-11-03T06:00:00Z",
}


def _never_null(schema: Json) -> None:
    schema.pop("default", None)


_absent = Field(default=None, json_schema_extra=_never_null)
_RunId = Annotated[str, Field(description="The run's id.")]
_Status = Annotated[Word, Field(description="The phase it is in; the last three are final.")]
_StartedAt = Annotated[
    datetime | SkipJsonSchema[None], _absent, Field(description="When its container started; absent if it never did.")
]
_CompletedAt = Annotated[
    datetime | SkipJsonSchema[None], _absent, Field(description="When it ended; absent until then.")
]
_Records = Annotated[
    int | SkipJsonSchema[None], _absent, Field(description="Rows loaded; absent until a run has ended that tells.")
]
_Error = Annotated[str | SkipJsonSchema[None], _absent, Field(description="Why it failed, or was cancelled.")]


class PipelineRunStatus(BaseModel):
    """Where a run stands. Times are RFC 3339, in UTC."""

    model_config = ConfigDict(extra="forbid")

    run_id: _RunId
    status: _Status
    progress: Annotated[
        int | SkipJsonSchema[None], _absent, Field(ge=0, le=100, description="Percent of the current attempt.")
    ]
    records_processed: _Records
    error_message: _Error
    started_at: _StartedAt
    completed_at: _CompletedAt


class PipelineRun(BaseModel):
    """A run of an organization. Times are RFC 3339, in UTC."""

    model_config = ConfigDict(extra="forbid")

    run_id: _RunId
    org_slug: Annotated[str, Field(description="The organization.")]
    provider: Annotated[str, Field(description="Where the data came from.")]
    domain: Annotated[str, Field(description="The kind of data.")]
    pipeline: Annotated[str, Field(description="The pipeline.")]
    status: _Status
    started_at: _StartedAt
    completed_at: _CompletedAt
    records_processed: _Records
    error_message: _Error
    parameters: Annotated[
        dict[str, Any] | SkipJsonSchema[None], _absent, Field(description="Its parameters, defaults included.")
    ]
    created_at: Annotated[datetime, Field(description="When it was asked for.")]


class RunHistory(BaseModel):
    """A page of an organization's runs, newest first."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"runs": [_RUN], "next_cursor": "MTc2MjE1MDAwMDAwMDAwMDpydW5fMGY4Yw"}]},
    )

    runs: list[PipelineRun]
    next_cursor: Annotated[
        str | SkipJsonSchema[None], _absent, Field(description="Where the next page begins; absent on the last one.")
    ]


def status_body(run: RunStatus) -> Json:
    """A `PipelineRunStatus`."""
    body: Json = {"run_id": run.run_id, "status": run.phase.word, "progress": run.progress}
    return _with_end(body, run)


def run_body(run: RunSummary) -> Json:
    """A `PipelineRun`."""
    body: Json = {
        "run_id": run.run_id,
        "org_slug": run.org_slug,
        "provider": run.provider,
        "domain": run.domain,
        "pipeline": run.pipeline,
        "status": run.phase.word,
        "parameters": run.parameters,
        "created_at": rfc3339(run.created_at),
    }
    return _with_end(body, run)


def _with_end(body: Json, run: RunStatus | RunSummary) -> Json:
    if run.records_processed is not None:
        body["records_processed"] = run.records_processed
    if run.error_message is not None:
        body["error_message"] = run.error_message
    if run.started_at is not None:
        body["started_at"] = rfc3339(run.started_at)
    if run.completed_at is not None:
        body["completed_at"] = rfc3339(run.completed_at)
    return body


def rfc3339(moment: datetime) -> str:
    """`2026-11-03T06:00:46.120394Z`, without the fraction where there is none."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
