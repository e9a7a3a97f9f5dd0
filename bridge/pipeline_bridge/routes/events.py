"""GET /pipelines/events/{org}/{run_id}: a run's status as it changes, as server-sent events."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from pipeline_bridge.models.records import RUN_ID
from pipeline_bridge.parts import parts
from pipeline_bridge.problems import responses
from pipeline_bridge.reading import TEXT, Organization, Reader, RunId, find_status
from pipeline_bridge.status_events import event_id, status_events, with_heartbeats
from pipeline_bridge.streams import Stream, streams

router = APIRouter(tags=["pipelines"])

MEDIA_TYPE = "text/event-stream"
_EXAMPLE = (
    f'id: 3.60\nevent: status\ndata: {{"run_id":"{RUN_ID}","status":"processing","progress":60,'
    '"started_at":"2026-11-03T06:00:04Z"}\n\n: heartbeat\n\n'
)
# Of each event, as OpenAPI before 3.2 has it.
_EVENT = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"const": "status"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/PipelineRunStatus"},
        },
    },
}


class EventStream(Response):
    """For the description of the API."""

    media_type = MEDIA_TYPE


@router.get(
    "/pipelines/events/{org}/{run_id}",
    summary="Follow a run's status",
    description="Server-sent events: one named `status`, whose data is a `PipelineRunStatus`, at once and at each "
    "change, until the run has ended. A comment comes every 15 seconds where nothing else does. A client that was cut "
    "off sends the last `id` as `Last-Event-ID`, and isn't told again what it knows. Needs the scope `read`.",
    response_class=EventStream,
    responses={
        200: {
            "description": "The events.",
            "content": {MEDIA_TYPE: {"schema": _EVENT, "example": _EXAMPLE}},
        },
        204: {"description": "The run has ended, and `Last-Event-ID` names its end: nothing will follow."},
        **responses(
            401, 403, 404, 422, 429, 503,
            reasons=(
                "NotAuthenticated", "ScopeMissing", "OtherOrganization", "RunNotFound", "RequestInvalid", "RateLimited",
                "TooManyStreams", "StoreUnavailable",
            ),
        ),
    },
)  # fmt: skip
async def get_events(
    org: Organization,
    run_id: RunId,
    who: Reader,
    request: Request,
    last_event_id: Annotated[
        str | None,
        TEXT,
        Header(alias="Last-Event-ID", description="The `id` of the last event that came."),
    ] = None,
) -> Response:
    """The stream; a 204 tells browsers not to connect again."""
    records = parts(request).records
    first = await find_status(records, who, run_id)
    if first.phase.is_final and event_id(first) == last_event_id:
        return Response(status_code=204)
    events = status_events(first, partial(records.status, run_id, who.org), known=last_event_id)
    return Stream(streams(request), who.org, with_heartbeats(events), MEDIA_TYPE)
