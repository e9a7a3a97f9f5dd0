"""/scheduler/*: the organization's schedules, and runs of them."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel

from pipeline_bridge import bodies, schedule_objects
from pipeline_bridge.auth import Principal, require
from pipeline_bridge.models.requests import parse
from pipeline_bridge.models.schedules import (
    ScheduleChange,
    ScheduleCreate,
    ScheduleCreated,
    ScheduleList,
    Success,
    TriggerAnswer,
    TriggerRequest,
)
from pipeline_bridge.parts import Parts, needs_parts
from pipeline_bridge.problems import responses
from pipeline_bridge.routes.runs import IdempotencyHeader, idempotency_key, start_responses
from pipeline_bridge.schedules import Schedules
from pipeline_bridge.starting import Starting
from pipeline_bridge.wanted import Wanted
from pipeline_core.api_keys import Scope
from pipeline_core.kube import names

router = APIRouter(tags=["schedules"])

Use = Annotated[Parts, Depends(needs_parts)]
Reader = Annotated[Principal, Depends(require(Scope.READ))]
Runner = Annotated[Principal, Depends(require(Scope.RUN))]
Scheduler = Annotated[Principal, Depends(require(Scope.SCHEDULE))]
ScheduleId = Annotated[str, Path(description="The schedule's id.", examples=["sch_7c9e6679742540de944be07fc1f90ae7"])]

_SCHEDULE = {"provider": "gcp", "domain": "cost", "pipeline": "billing", "cron_expression": "0 */6 * * *"}
_LOCATION = {"Location": {"description": "The path of the schedule.", "schema": {"type": "string"}}}
KEY = ("NotAuthenticated", "ScopeMissing", "RateLimited")
AWAY = ("KubernetesUnavailable", "StoreUnavailable")


def described_body(model: type[BaseModel], **examples: dict[str, Any]) -> dict[str, Any]:
    """The description of a body that the endpoint reads by itself, so that no digit of a number is lost."""
    shown = {name: {"summary": name.replace("_", " ").capitalize(), "value": value} for name, value in examples.items()}
    content = {"application/json": {"schema": model.model_json_schema(), "examples": shown}}
    return {"requestBody": {"required": True, "content": content}}


@router.get(
    "/scheduler/queue",
    summary="List the schedules",
    description="All schedules of the key's organization, those that are off as well. `last_run_at` and `next_run_at` "
    "are there as far as the operator has reported them. Needs the scope `read`.",
    response_model=ScheduleList,
    response_model_exclude_none=True,
    responses=responses(401, 403, 422, 429, 502, 503, reasons=(*KEY, *AWAY, "RequestInvalid")),
)
async def list_schedules(who: Reader, use: Use) -> Response:
    """The organization's schedules."""
    found = ScheduleList(schedules=await Schedules(use).list_all(who.org))
    return Response(found.model_dump_json(exclude_none=True), media_type="application/json")


@router.post(
    "/scheduler/trigger",
    summary="Run a schedule's pipeline now",
    description="Starts a run with the schedule's pipeline and parameters, whether the schedule is on or off, and "
    "whoever manages it. The run counts against the quota as any other, and is refused where a limit is reached. With "
    "an `Idempotency-Key` the same request can be sent again, and starts one run. Needs the scope `run`.",
    response_model=TriggerAnswer,
    responses={
        **start_responses(),
        **responses(403, reasons=("ScopeMissing", "SubscriptionInactive", "OrganizationNotFound")),
        **responses(404, reasons=("ScheduleNotFound", "PipelineNotFound", "UnknownProvider")),
        **responses(422, reasons=("RequestInvalid", "ParametersInvalid", "IdempotencyKeyReused")),
    },
    openapi_extra=described_body(TriggerRequest, by_id={"schedule_id": "sch_7c9e6679742540de944be07fc1f90ae7"}),
)
async def trigger(request: Request, who: Runner, use: Use, key: IdempotencyHeader = None) -> TriggerAnswer:
    """Start a run of the schedule."""
    body = bodies.read_object(await bodies.body_of(request))
    schedule_id, starting = parse(TriggerRequest, body).schedule_id, Starting(use)
    named = idempotency_key(request, body, key)
    # The schedule may have changed or gone since the first request with the key, and what that has started has not.
    if named is not None and (run_id := await starting.find(who, named)) is not None:
        return TriggerAnswer(run_id=run_id)
    schedule = await Schedules(use).find(who.org, schedule_id)
    spec, (reference, template) = schedule["spec"], schedule_objects.run_of(schedule)
    wanted = Wanted(
        provider=spec["provider"],
        domain=spec["domain"],
        pipeline=spec["pipeline"],
        parameters=spec.get("parameters") or {},
        schedule=reference,
        template=template,
        idempotency_key=named,
        request_id=request.state.request_id,
        traceparent=request.state.traceparent,
    )
    return TriggerAnswer(run_id=await starting.start(who, wanted))


@router.post(
    "/scheduler/schedule",
    status_code=201,
    summary="Make a schedule",
    description="Stores a schedule of the key's organization as a PipelineSchedule. Its pipeline and parameters are "
    "checked as those of a run would be. Ticks count from now on: nothing runs for the past. Needs the scope "
    "`schedule`.",
    response_model=ScheduleCreated,
    responses={
        201: {"headers": _LOCATION},
        **responses(
            400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503,
            reasons=(
                *KEY, *AWAY, "MalformedJson", "PipelineNotFound",
                "UnknownProvider", "NameTaken", "RequestInvalid", "ParametersInvalid", "CatalogUnusable",
            ),
        ),
    },
    openapi_extra=described_body(
        ScheduleCreate,
        every_six_hours=_SCHEDULE,
        at_three_in_madrid={
            **_SCHEDULE, "name": "nightly-billing", "cron_expression": "0 3 * * *", "time_zone": "Europe/Madrid"
        },
    ),
)  # fmt: skip
async def create_schedule(request: Request, response: Response, who: Scheduler, use: Use) -> ScheduleCreated:
    """Make a schedule."""
    wanted = parse(ScheduleCreate, bodies.read_object(await bodies.body_of(request)))
    annotations = {names.ANNOTATION_REQUEST_ID: request.state.request_id}
    schedule_id = await Schedules(use).create(who.org, wanted, annotations)
    response.headers["Location"] = f"{request.scope['path'].rstrip('/')}/{schedule_id}"
    return ScheduleCreated(success=True, schedule_id=schedule_id)


@router.put(
    "/scheduler/schedule/{schedule_id}",
    summary="Change a schedule",
    description="Changes the fields that are given and leaves the others as they are. A schedule that Argo CD, Flux or "
    "Helm manages is to be changed there: 409. Needs the scope `schedule`.",
    response_model=Success,
    responses=responses(
        400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503,
        reasons=(
            *KEY, *AWAY, "MalformedJson", "ScheduleNotFound", "ManagedByGitOps", "Conflict", "RequestInvalid",
            "ParametersInvalid", "CatalogUnusable",
        ),
    ),
    openapi_extra=described_body(
        ScheduleChange, every_day_at_noon={"cron_expression": "0 12 * * *"}, switched_off={"is_enabled": False}
    ),
)  # fmt: skip
async def change_schedule(schedule_id: ScheduleId, request: Request, who: Scheduler, use: Use) -> Success:
    """Change a schedule."""
    change = parse(ScheduleChange, bodies.read_object(await bodies.body_of(request)))
    await Schedules(use).change(who.org, schedule_id, change)
    return Success(success=True)


@router.delete(
    "/scheduler/schedule/{schedule_id}",
    summary="Delete a schedule",
    description="Deletes the schedule; its runs go on, and their records stay. A schedule that Argo CD, Flux or Helm "
    "manages is to be deleted there: 409. Needs the scope `schedule`.",
    response_model=Success,
    responses=responses(
        400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503,
        reasons=(*KEY, *AWAY, "ScheduleNotFound", "ManagedByGitOps", "RequestInvalid"),
    ),
)  # fmt: skip
async def delete_schedule(schedule_id: ScheduleId, request: Request, who: Scheduler, use: Use) -> Success:
    """Delete a schedule."""
    await bodies.refuse_fields(request)
    await Schedules(use).remove(who.org, schedule_id)
    return Success(success=True)
