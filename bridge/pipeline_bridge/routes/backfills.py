"""/scheduler/backfill: runs of a schedule for a range of times that are over."""

from fastapi import APIRouter, Request, Response

from pipeline_bridge import bodies
from pipeline_bridge.backfills import Backfills
from pipeline_bridge.models.backfills import BackfillBegun, BackfillChange, BackfillRequest, BackfillStatus
from pipeline_bridge.models.requests import parse
from pipeline_bridge.models.schedules import Success
from pipeline_bridge.problems import responses
from pipeline_bridge.routes.schedules import AWAY, KEY, ScheduleId, Scheduler, Use, described_body

router = APIRouter(tags=["schedules"])

_PATH = "/scheduler/backfill/{schedule_id}"
_OCTOBER = {"from": "2026-10-01", "to": "2026-10-31"}


@router.post(
    _PATH,
    summary="Begin a backfill",
    description="A run for each tick of a range that is over, whether the tick had one or not, with the dates of the "
    "tick. They go on beside the schedule's own runs, whether it is on or off, and count against the quota as any "
    "other: those that find it used wait for the next day. The answer says how many they are and what they take; "
    "with `dry_run` that is all, and a schedule that is kept in Git is answered for, too. Sent "
    "again, it begins nothing more and has the same answer. Needs the scope `schedule`.",
    response_model=BackfillBegun,
    responses=responses(
        400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503,
        reasons=(
            *KEY, *AWAY, "MalformedJson", "ScheduleNotFound", "PipelineNotFound", "UnknownProvider", "ManagedByGitOps",
            "BackfillUnderWay", "BackfillIdUsed", "Conflict", "RequestInvalid", "ParametersInvalid", "CatalogUnusable",
        ),
    ),
    openapi_extra=described_body(
        BackfillRequest, october=_OCTOBER, two_at_a_time={**_OCTOBER, "id": "october-again", "concurrency": 2},
        what_it_would_be={**_OCTOBER, "dry_run": True},
    ),
)  # fmt: skip
async def begin_backfill(schedule_id: ScheduleId, request: Request, who: Scheduler, use: Use) -> Response:
    """Begin a backfill of the schedule."""
    wanted = parse(BackfillRequest, bodies.read_object(await bodies.body_of(request)))
    begun = await Backfills(use).begin(who.org, schedule_id, wanted)
    return Response(begun.model_dump_json(exclude_none=True), media_type="application/json")


@router.get(
    _PATH,
    summary="Tell how far a backfill is",
    description="The schedule's backfill that is under way, or else its last one. Needs the scope `schedule`.",
    response_model=BackfillStatus,
    responses=responses(
        401, 403, 404, 422, 429, 502, 503,
        reasons=(*KEY, *AWAY, "ScheduleNotFound", "BackfillNotFound", "RequestInvalid"),
    ),
)  # fmt: skip
async def get_backfill(schedule_id: ScheduleId, who: Scheduler, use: Use) -> Response:
    """How far the schedule's backfill is."""
    shown = await Backfills(use).show(who.org, schedule_id)
    return Response(shown.model_dump_json(by_alias=True, exclude_none=True), media_type="application/json")


@router.put(
    _PATH,
    summary="Pause a backfill, or change how many of its runs go on at a time",
    description="Changes the fields that are given. Runs that go on aren't cancelled. Needs the scope `schedule`.",
    response_model=Success,
    responses=responses(
        400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503,
        reasons=(
            *KEY, *AWAY, "MalformedJson", "ScheduleNotFound", "BackfillNotFound", "ManagedByGitOps", "Conflict",
            "RequestInvalid",
        ),
    ),
    openapi_extra=described_body(BackfillChange, paused={"paused": True}, three_at_a_time={"concurrency": 3}),
)  # fmt: skip
async def change_backfill(schedule_id: ScheduleId, request: Request, who: Scheduler, use: Use) -> Success:
    """Pause the schedule's backfill, or let it go on."""
    change = parse(BackfillChange, bodies.read_object(await bodies.body_of(request)))
    await Backfills(use).change(who.org, schedule_id, change)
    return Success(success=True)


@router.delete(
    _PATH,
    summary="Stop a backfill",
    description="It makes no more runs; those that go on, go on. Needs the scope `schedule`.",
    response_model=Success,
    responses=responses(
        400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503,
        reasons=(
            *KEY, *AWAY, "ScheduleNotFound", "BackfillNotFound", "ManagedByGitOps", "Conflict", "RequestInvalid"
        ),
    ),
)  # fmt: skip
async def stop_backfill(schedule_id: ScheduleId, request: Request, who: Scheduler, use: Use) -> Success:
    """Stop the schedule's backfill."""
    await bodies.refuse_fields(request)
    await Backfills(use).stop(who.org, schedule_id)
    return Success(success=True)
