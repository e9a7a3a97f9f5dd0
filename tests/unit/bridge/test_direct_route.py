"""Direct routes: the endpoint gets its caller, as on any route, and one that takes more is told so when it is made."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, Request, Response

from pipeline_bridge.auth import Principal, require
from pipeline_bridge.direct_route import DirectRoute
from pipeline_bridge.reading import Reader
from pipeline_bridge.routes import status
from pipeline_core.api_keys import Scope
from support.bridge import Bridge
from support.runs import new_run

RUN_ID = "run_0a1b"
PATH = f"/pipelines/status/acme/{RUN_ID}"


def test_the_status_has_one() -> None:
    assert [type(route) for route in status.router.routes] == [DirectRoute]


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
async def test_a_caller_is_answered(prefix: str) -> None:
    bridge = Bridge()
    await bridge.records.begin(new_run(RUN_ID))
    async with bridge.client(bridge.key(Scope.READ)) as client:
        answer = await client.get(f"{prefix}{PATH}")
    assert answer.json()["run_id"] == RUN_ID


@pytest.mark.parametrize(
    ("scope", "org", "path", "expected"),
    [
        (None, "acme", PATH, 401),
        (Scope.RUN, "acme", PATH, 403),
        (Scope.READ, "globex", PATH, 403),
        (Scope.READ, "acme", f"{PATH}0", 404),
        (Scope.READ, "acme", f"{PATH}?page=2", 422),
    ],
)
async def test_others_are_refused_as_anywhere(scope: Scope | None, org: str, path: str, expected: int) -> None:
    bridge = Bridge()
    await bridge.records.begin(new_run(RUN_ID))
    async with bridge.client(bridge.key(scope, org=org) if scope else None) as client:
        answer = await client.get(path)
    assert answer.status_code == expected


async def _with_query(who: Reader, request: Request, org: str, page: int = 1) -> Response: ...
async def _without_caller(request: Request, org: str) -> Response: ...
async def _with_another_caller(who: Annotated[Principal, Depends(Principal)], request: Request, org: str) -> Any: ...
async def _with_two(
    who: Annotated[Principal, Depends(require(Scope.READ)), Depends(require(Scope.RUN))], request: Request, org: str
) -> Any: ...


@pytest.mark.parametrize("endpoint", [_with_query, _without_caller, _with_another_caller, _with_two])
def test_an_endpoint_that_takes_something_else_is_refused(endpoint: Any) -> None:
    router = APIRouter(route_class=DirectRoute)
    with pytest.raises(TypeError, match="expected"):
        router.get("/of/{org}", response_model=None)(endpoint)
