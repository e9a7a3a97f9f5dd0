"""The simulators' own endpoints: the truth, the plan, the log of requests."""

from datetime import date
from typing import Any

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline_local.simulators import anthropic, openai
from pipeline_local.simulators.buckets import WIDTHS
from pipeline_local.simulators.plan import Plan
from pipeline_local.simulators.simulation import Simulation
from pipeline_local.simulators.truth import Truth, truth
from pipeline_local.simulators.world import Provider

_DAYS_AT_MOST = 400


def control(simulation: Simulation) -> Starlette:
    """The application below /_simulator."""

    async def ready(request: Request) -> Response:
        return JSONResponse({"seed": simulation.seed})

    async def get_truth(request: Request) -> Response:
        """The key is that of the provider's own header, so that it comes into no address."""
        try:
            told = _truth(simulation, request)
        except ValueError as error:
            return _wrong(str(error))
        return JSONResponse(_plain({"rows": told.rows, "sums": told.sums}))

    async def get_plan(request: Request) -> Response:
        return JSONResponse(simulation.plan.model_dump(mode="json"))

    async def post_plan(request: Request) -> Response:
        try:
            plan = Plan.model_validate_json(await request.body())
        except ValidationError as error:
            return _wrong("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()))
        simulation.follow(plan)
        return JSONResponse(plan.model_dump(mode="json"))

    async def get_requests(request: Request) -> Response:
        return JSONResponse(simulation.told())

    async def reset(request: Request) -> Response:
        simulation.reset()
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/ready", ready),
            Route("/truth", get_truth),
            Route("/plan", get_plan, methods=["GET"]),
            Route("/plan", post_plan, methods=["POST"]),
            Route("/requests", get_requests),
            Route("/reset", reset, methods=["POST"]),
        ]
    )


def _truth(simulation: Simulation, request: Request) -> Truth:
    query = request.query_params
    width = query.get("bucket_width", "1d")
    provider: Provider
    match query.get("provider"):
        case "openai":
            provider, key = "openai", openai.organization_key(request.headers)
        case "anthropic":
            provider, key = "anthropic", anthropic.organization_key(request.headers)
        case other:
            raise ValueError(f"provider: expected openai or anthropic, not {other!r}")
    if key is None:
        raise ValueError("expected an admin key in the header in which the provider takes it")
    if width not in WIDTHS:
        raise ValueError(f"bucket_width: expected one of {', '.join(WIDTHS)}, not {width!r}")
    first, last = (date.fromisoformat(query.get(name, "")) for name in ("first_day", "last_day"))
    if not 0 <= (last - first).days < _DAYS_AT_MOST:
        raise ValueError(f"last_day: expected a day from first_day on, and {_DAYS_AT_MOST} days at most")
    by = query.getlist("group_by") or None
    return truth(simulation.world, provider, key, first, last, bucket_width=width, group_by=by)


def _wrong(message: str) -> JSONResponse:
    return JSONResponse({"error": message}, status_code=400)


def _plain(value: Any) -> Any:
    """As JSON can hold it: numbers and days as text, which loses nothing."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | bool) or value is None else str(value)
