"""The application: every endpoint under /api/v1 and without that prefix, and what stands around them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI

from pipeline_bridge.auth import Gate
from pipeline_bridge.description import describe
from pipeline_bridge.documentation import add_documentation
from pipeline_bridge.middleware import BridgeMiddleware
from pipeline_bridge.parts import Parts
from pipeline_bridge.problem_answers import add_handlers
from pipeline_bridge.readiness import Readiness
from pipeline_bridge.routes import backfills, discovery, events, health, history, logs, runs, schedules, status
from pipeline_bridge.streams import Streams

# In the order in which a request's path is compared with theirs: those that are asked for most come first.
_ROUTERS = tuple(each.router for each in (status, runs, events, logs, history, schedules, backfills, discovery, health))


class BridgeApp(FastAPI):
    """The endpoints, and the description of them; `make_app` makes one that works."""

    def __init__(self) -> None:
        super().__init__(
            lifespan=_background,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            root_path_in_servers=False,
            # Asked for at each request where it isn't off.
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        # Routers within a router would each be tried with every path, twice; their routes are complete as they are.
        self.router.routes[:0] = [route for router in _ROUTERS for route in router.routes]
        add_documentation(self)
        add_handlers(self)

    def openapi(self) -> dict[str, Any]:
        """The description as OpenAPI 3.1 has it; made once."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(self.routes)
        return self.openapi_schema


def make_app(parts: Parts) -> BridgeApp:
    """The application around these parts."""
    app = BridgeApp()
    app.state.parts = parts
    app.state.gate = Gate(parts)
    app.state.readiness = Readiness(parts)
    app.state.streams = Streams(parts.settings.max_streams, parts.stopping)
    app.add_middleware(BridgeMiddleware, max_body_bytes=parts.settings.max_body_bytes)
    return app


@asynccontextmanager
async def _background(app: FastAPI) -> AsyncIterator[None]:
    tasks = [
        asyncio.create_task(app.state.readiness.look_forever()),
        asyncio.create_task(app.state.gate.uses.write_forever()),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
