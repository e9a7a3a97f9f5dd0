"""A route whose endpoint is called at once, for what is asked for most: FastAPI's solving of dependencies is left out.

That takes as long as all that the bridge itself does for a status, and has nothing to do where an endpoint takes the
texts of its path, the caller and the request, and nothing else. The description of the API has it as any other route.
"""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, get_args

from fastapi import Request, Response
from fastapi.routing import APIRoute

from pipeline_bridge.auth import RequiredScope


class DirectRoute(APIRoute):
    """Of an endpoint that takes `who`, `request`, and the parameters of its path, each of which may be any text."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request. Raises TypeError where the endpoint takes anything else."""
        endpoint: Callable[..., Awaitable[Response]] = self.endpoint
        taken = inspect.signature(endpoint).parameters
        if taken.keys() != {"who", "request", *self.param_convertors}:
            raise TypeError(f"{endpoint.__name__}: expected who, request and the path's parameters, got {[*taken]}")
        admit = _required_scope(taken["who"].annotation)

        async def handle(request: Request) -> Response:
            who = await admit(request)
            return await endpoint(**request.scope["path_params"], who=who, request=request)

        return handle


def _required_scope(who: object) -> RequiredScope:
    required = [each.dependency for each in get_args(who)[1:] if isinstance(each.dependency, RequiredScope)]
    if len(required) != 1:
        raise TypeError(f"who: expected Annotated[Principal, Depends(require(...))], got {who}")
    return required[0]
