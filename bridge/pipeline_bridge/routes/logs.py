"""GET /pipelines/logs/{org}/{run_id}: what a run's containers write, as they write it."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import WithJsonSchema

from pipeline_bridge.parts import parts
from pipeline_bridge.pod_logs import RunLogs
from pipeline_bridge.problems import Problem, responses
from pipeline_bridge.reading import Organization, Reader, RunId, run_not_found
from pipeline_bridge.streams import Stream, streams
from pipeline_core.identifiers import RUN_ID

router = APIRouter(tags=["pipelines"])

MEDIA_TYPE = "text/plain"
_EXAMPLE = (
    '{"event": "run started", "level": "info", "timestamp": "2026-11-03T06:00:04.512Z"}\n'
    '{"event": "run completed", "level": "info", "records": 48211, "timestamp": "2026-11-03T06:00:46.020Z"}\n'
)
# Without null, which no address can hold.
_TAIL = WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 10_000})


class Lines(Response):
    """For the description of the API."""

    media_type = MEDIA_TYPE


@router.get(
    "/pipelines/logs/{org}/{run_id}",
    summary="Read a run's logs",
    description="The lines that the run's containers wrote, of all attempts in order. It waits for the first one to "
    "start, and goes on until the run has ended, unless `follow` is false. Logs are the cluster's, and go with the "
    "run's pods, which are deleted some time after its end. While nothing is written nothing is sent: a client, or a "
    "proxy, that gives up a silent connection asks again with `tail`. Needs the scope `read`.",
    response_class=Lines,
    responses={
        200: {
            "description": "The lines.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        **responses(
            401, 403, 404, 422, 429, 502, 503,
            reasons=(
                "NotAuthenticated", "ScopeMissing", "OtherOrganization", "RunNotFound", "LogsGone", "RequestInvalid",
                "RateLimited", "TooManyStreams", "StoreUnavailable", "KubernetesUnavailable",
            ),
        ),
    },
)  # fmt: skip
async def get_logs(
    org: Organization,
    run_id: RunId,
    who: Reader,
    request: Request,
    follow: Annotated[
        bool, Query(description="Whether to go on until the run has ended, or to give what is there by now.")
    ] = True,
    tail: Annotated[
        int | None,
        _TAIL,
        Query(ge=1, le=10_000, description="Of the latest attempt alone, its last so many lines."),
    ] = None,
) -> Response:
    """The stream. The record says where to look: a run of another organization has none here."""
    used = parts(request)
    record = await used.records.get(run_id, org_slug=who.org) if RUN_ID.fullmatch(run_id) else None
    if record is None:
        raise run_not_found(run_id)
    if record.object_namespace is None:
        raise _gone(run_id)
    logs = RunLogs(used.cluster, record.object_namespace, run_id, partial(used.records.status, run_id, who.org))

    async def look() -> None:
        # Also where nothing hangs on it: what Kubernetes refuses is told now, and not in the middle of the answer.
        if not await logs.attempts() and record.phase.is_final:
            raise _gone(run_id)

    return Stream(streams(request), who.org, logs.read(follow=follow, tail=tail), MEDIA_TYPE, look)


def _gone(run_id: str) -> Problem:
    detail = f"No pod of {run_id} is left, and its logs went with them; or it ended before it had one"
    return Problem(404, "LogsGone", detail)
