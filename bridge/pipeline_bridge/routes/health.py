"""`/healthz` and `/readyz` beside the endpoints; probes ask for them on the port of the metrics (probes.py)."""

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

if TYPE_CHECKING:
    from pipeline_bridge.readiness import Readiness

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthy() -> Response:
    """That there is an answer is the answer: the event loop runs."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def ready(request: Request) -> Response:
    """Whether requests can be answered; if not, which parts are away."""
    readiness: Readiness = request.app.state.readiness
    wrong = readiness.wrong()
    return PlainTextResponse(f"{wrong or 'ok'}\n", 503 if wrong else 200)
