"""The description of the API as OpenAPI 3.1 has it: what the endpoints say of themselves, and what all share."""

from collections.abc import Sequence
from typing import Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from pipeline_bridge.auth import SCHEME, RequiredScope
from pipeline_bridge.paths import PREFIX
from pipeline_bridge.problem_examples import SCHEMA
from pipeline_bridge.problems import responses
from pipeline_core import __version__

_DESCRIPTION = """\
Starts pipelines, tells how their runs stand, and keeps schedules. A run asked for here is the run that `kubectl apply`
of a PipelineRun would have made.

Every endpoint is there without the prefix `/api/v1` as well. Each needs a key in the header `X-API-Key`, bound to one
organization and to scopes, unless it says that it needs none. Refusals are problems as RFC 9457 has them. Fields and
query parameters that aren't described here are refused by name. Times are RFC 3339 in UTC.

Each answer has an `X-Request-Id`: the one that was sent, if it was well formed, or a new one. Answers to a valid key
have `RateLimit` and `RateLimit-Policy`.
"""
_TAGS = [
    {"name": "pipelines", "description": "Start, watch and cancel runs of pipelines."},
    {"name": "schedules", "description": "Runs at fixed times."},
    {"name": "discovery", "description": "Which pipelines there are."},
]


def describe(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """The document, from these routes. Raises ValueError if two operations have one name."""
    found = get_openapi(title="Pipelines API", version=__version__, description=_DESCRIPTION, tags=_TAGS, routes=routes)
    names: set[str] = set()
    for route in routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                if route.name in names:
                    raise ValueError(f"two operations are named {route.name!r}")
                names.add(route.name)
                _complete(found["paths"][route.path_format][method.lower()], route)
    found["paths"] = {PREFIX + path: operations for path, operations in found["paths"].items()}
    schemas = found["components"]["schemas"]
    schemas["Problem"] = SCHEMA
    # FastAPI's own, of answers that the bridge doesn't give.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    return found


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    operation["operationId"] = route.name
    for scope in scopes_of(route):
        operation["security"] = [{SCHEME: [scope]}]
    refused = operation["responses"].get("422", {})
    if "application/json" in refused.get("content", {}):
        operation["responses"]["422"] = responses(422, reasons=("RequestInvalid",))[422]


def scopes_of(route: APIRoute) -> list[str]:
    """The scope that the endpoint needs; none where it needs no key."""
    needed = [each.call.scope for each in route.dependant.dependencies if isinstance(each.call, RequiredScope)]
    return [scope.value for scope in needed]
