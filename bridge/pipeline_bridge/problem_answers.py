"""Answers of problems: the exception handlers of the application."""

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import cast

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.staticfiles import StaticFiles

from pipeline_bridge import metrics
from pipeline_bridge.problems import MEDIA_TYPE, Problem, problem_of
from pipeline_bridge.refused_fields import problem_of_validation
from pipeline_core.errors import PipelinesError
from pipeline_core.kube.api import KubeError, KubeUnavailableError

_log = structlog.get_logger(__name__)

_Handler = Callable[[Request, Exception], Awaitable[Response]]


def answer(problem: Problem, *, path: str, request_id: str) -> Response:
    """The answer that a problem is; it is counted as one."""
    metrics.rejection_count(problem.reason).inc()
    body = json.dumps(problem.body(instance=path, request_id=request_id), ensure_ascii=False).encode(errors="replace")
    return Response(body, problem.status, problem.headers, MEDIA_TYPE)


def add_handlers(app: FastAPI) -> None:
    """Let every error become a problem; those that nothing is known of are left to the middleware."""
    app.add_exception_handler(Problem, _given(lambda _, error: cast("Problem", error)))
    app.add_exception_handler(RequestValidationError, _given(_of_validation))
    app.add_exception_handler(HTTPException, _given(_of_http))
    for kind in (PipelinesError, KubeError, KubeUnavailableError):
        app.add_exception_handler(kind, _given(_of_service))


def _given(problem: Callable[[Request, Exception], Problem]) -> _Handler:
    async def handle(request: Request, error: Exception) -> Response:
        return answer(problem(request, error), path=request.scope["path"], request_id=request.state.request_id)

    return handle


def _of_validation(_request: Request, error: Exception) -> Problem:
    return problem_of_validation(cast("RequestValidationError", error))


def _of_service(_request: Request, error: Exception) -> Problem:
    problem = problem_of(cast("PipelinesError | KubeError | KubeUnavailableError", error))
    if problem.status == 500:
        _log.error("unexpected error", exc_info=error)
    elif problem.status > 500:
        # The caller isn't told the service's own words: they name hosts, users and files.
        _log.warning("refused", reason=problem.reason, error=str(error))
    return problem


def _of_http(request: Request, error: Exception) -> Problem:
    found = cast("HTTPException", error)
    method, headers = request.method, found.headers
    match found.status_code:
        case 404:
            return Problem(404, "NotFound", "There is no endpoint at this path", headers=headers)
        case 405:
            allowed = ", ".join(_methods_at(request))
            detail = f"{method} isn't possible here; possible: {allowed}"
            return Problem(405, "MethodNotAllowed", detail, headers={"Allow": allowed})
        case 413:
            return Problem(413, "BodyTooLarge", found.detail, headers=headers)
        case status:
            reason = HTTPStatus(status).phrase.title().replace(" ", "").replace("-", "")
            return Problem(status, reason, found.detail, headers=headers)


def _methods_at(request: Request) -> list[str]:
    """All methods of the path; the router names those of one endpoint."""
    if isinstance(request.scope.get("endpoint"), StaticFiles):
        return ["GET", "HEAD"]
    return sorted(
        {
            method
            for route in request.app.routes
            if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
            for method in route.methods or ()
        }
    )
