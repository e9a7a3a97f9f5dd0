"""POST /pipelines/run and /pipelines/cancel: start and cancel runs."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import AfterValidator

from pipeline_bridge.auth import Principal, require
from pipeline_bridge.bodies import body_of, fingerprint, read_parameters, refuse_fields
from pipeline_bridge.cancelling import Cancelling
from pipeline_bridge.models.runs import (
    LIMIT_HEADERS,
    RUN_BODY,
    TRACE_PARAMETERS,
    RunCancelled,
    RunStarted,
    cancelled,
    started,
)
from pipeline_bridge.parts import parts
from pipeline_bridge.problems import responses
from pipeline_bridge.refused_fields import invalid_fields
from pipeline_bridge.run_objects import Trace
from pipeline_bridge.starting import Starting
from pipeline_bridge.wanted import IdempotencyKey, Wanted
from pipeline_core.api_keys import Scope

router = APIRouter(tags=["pipelines"])

_JSON = "application/json"
_IDEMPOTENCY_HEADER = "Idempotency-Key"
_IDEMPOTENCY_KEY = re.compile("[!-~]{1,255}")
_ORG = Path(description="The organization's slug, the one of the key.", examples=["acme"])


def check_idempotency_key(key: str | None) -> str | None:
    """An idempotency key as it may be. Raises ValueError, which says what is expected."""
    if key is not None and not _IDEMPOTENCY_KEY.fullmatch(key):
        raise ValueError("1 to 255 characters of visible ASCII")
    return key


# Of every endpoint that starts runs.
IdempotencyHeader = Annotated[
    str | None,
    AfterValidator(check_idempotency_key),
    Header(
        alias=_IDEMPOTENCY_HEADER,
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        description="Names this request, in visible ASCII: sent again with the same key within 24 hours, it starts no "
        "second run, and answers with the first one's id. A refused request may be sent again with its key.",
        examples=["nightly-2026-11-21"],
    ),
]


def start_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of an endpoint that starts runs, for `responses=`."""
    reasons = (
        "MalformedJson",
        "ScopeMissing",
        "OtherOrganization",
        "SubscriptionInactive",
        "OrganizationNotFound",
        "PipelineNotFound",
        "UnknownProvider",
        "IntegrationNotActive",
        "TemplateInvalid",
        "NoNamespace",
        "ParametersInvalid",
        "IdempotencyKeyReused",
        "DailyLimitReached",
        "RateLimited",
    )
    found = responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503, *statuses, reasons=reasons)
    found[429]["headers"] = {**found[429].get("headers", {}), **LIMIT_HEADERS}
    return found


def idempotency_key(request: Request, body: dict[str, Any], key: str | None) -> IdempotencyKey | None:
    """The request's idempotency key, if it has one; `body` as it was read. Raises Problem 422 where it has two."""
    if key is None:
        return None
    if len(request.headers.getlist(_IDEMPOTENCY_HEADER)) > 1:
        raise invalid_fields([{"field": _IDEMPOTENCY_HEADER, "expected": "the header once"}])
    return IdempotencyKey(key, fingerprint(request.method, request.scope["path"], body))


@router.post(
    "/pipelines/run/{org}/{provider}/{domain}/{pipeline}",
    summary="Start a run",
    description="Checks the request, reserves one of the organization's slots, and starts the pipeline: the same run "
    "as `kubectl apply` of a PipelineRun would start. The status can be asked for at once.",
    response_model=RunStarted,
    responses=start_responses(),
    openapi_extra={"requestBody": RUN_BODY, "parameters": TRACE_PARAMETERS},
)
async def start_run(
    org: Annotated[str, _ORG],
    provider: Annotated[str, Path(description="The provider's key.", examples=["gcp"])],
    domain: Annotated[str, Path(description="The kind of data.", examples=["cost"])],
    pipeline: Annotated[
        str, Path(description="The config file's name without `.yml`, or its `pipeline.name`.", examples=["billing"])
    ],
    request: Request,
    who: Annotated[Principal, Depends(require(Scope.RUN))],
    key: IdempotencyHeader = None,
) -> Response:
    """Start a run of the pipeline."""
    body = read_parameters(await body_of(request))
    wanted = Wanted(
        provider=provider,
        domain=domain,
        pipeline=pipeline,
        parameters=body,
        idempotency_key=idempotency_key(request, body, key),
        request_id=request.state.request_id,
        traceparent=request.state.traceparent,
    )
    return Response(started(await Starting(parts(request)).start(who, wanted)), media_type=_JSON)


@router.post(
    "/pipelines/cancel/{org}/{run_id}",
    summary="Cancel a run",
    description="Asks for the run to be stopped. It ends as cancelled within seconds, and nothing of it is published; "
    "unless it was about to end by itself, or is over: that can't be taken back.",
    response_model=RunCancelled,
    responses=responses(
        400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503,
        reasons=("ScopeMissing", "OtherOrganization", "RunNotFound", "Conflict", "RequestInvalid", "RateLimited"),
    ),
    openapi_extra={"parameters": TRACE_PARAMETERS},
)  # fmt: skip
async def cancel_run(
    org: Annotated[str, _ORG],
    run_id: Annotated[str, Path(description="The run's id.", examples=["run_0f8c1e5b7a924d06b3d1c2a4e6f80917"])],
    request: Request,
    who: Annotated[Principal, Depends(require(Scope.RUN))],
) -> Response:
    """Cancel the run."""
    await refuse_fields(request)
    trace = Trace(request.state.request_id, request.state.traceparent)
    success, phase = await Cancelling(parts(request)).cancel(who, run_id, trace)
    return Response(cancelled(phase, success=success), media_type=_JSON)
