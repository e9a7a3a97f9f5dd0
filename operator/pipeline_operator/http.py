"""The small HTTP server of a long-running process: health, readiness, metrics, and what routes are added."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

# Says what is wrong, or None when nothing is.
Check = Callable[[], str | None]


async def serve(
    host: str,
    port: int,
    *,
    healthy: Check,
    ready: Check,
    extra_routes: Iterable[web.AbstractRouteDef] = (),
    registry: CollectorRegistry = REGISTRY,
) -> None:
    """Serve /healthz, /readyz, /metrics and `extra_routes` on `host:port` until cancelled.

    The checks are called on the event loop for each probe, so they must be quick; what they return becomes the body of
    a 503. Raises OSError if the address can't be bound.
    """

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=64 * 1024)
    app.add_routes(
        [
            web.get("/healthz", _answering(healthy)),
            web.get("/readyz", _answering(ready)),
            web.get("/metrics", metrics),
            *extra_routes,
        ]
    )
    # Probes and scrapes would drown the log; shutdown isn't held up by an idle keep-alive connection.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def _answering(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text=f"{wrong or 'ok'}\n", status=503 if wrong else 200)

    return answer
