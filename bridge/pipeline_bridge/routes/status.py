"""GET /pipelines/status/{org}/{run_id}: where a run stands. The endpoint that is called most."""

from fastapi import APIRouter, Request, Response

from pipeline_bridge.direct_route import DirectRoute
from pipeline_bridge.models.records import STATUS_EXAMPLES, PipelineRunStatus, status_body
from pipeline_bridge.parts import parts
from pipeline_bridge.problems import responses
from pipeline_bridge.reading import Organization, Reader, RunId, find_status, json_answer

router = APIRouter(tags=["pipelines"], route_class=DirectRoute)

_EXAMPLES = {name: {"summary": name, "value": value} for name, value in STATUS_EXAMPLES.items()}


@router.get(
    "/pipelines/status/{org}/{run_id}",
    summary="Get a run's status",
    description="Where a run stands, with its progress, and how it ended. It is there from the moment in which the run "
    "was answered for. A run of another organization is as one that doesn't exist. Needs the scope `read`.",
    response_model=PipelineRunStatus,
    responses={
        200: {"description": "Where it stands.", "content": {"application/json": {"examples": _EXAMPLES}}},
        **responses(
            401, 403, 404, 422, 429, 503,
            reasons=(
                "NotAuthenticated", "ScopeMissing", "OtherOrganization", "RunNotFound", "RequestInvalid", "RateLimited",
                "StoreUnavailable",
            ),
        ),
    },
)  # fmt: skip
async def get_status(org: Organization, run_id: RunId, who: Reader, request: Request) -> Response:
    """The status, as ready bytes: a model would cost more than everything else here."""
    return json_answer(status_body(await find_status(parts(request).records, who, run_id)))
