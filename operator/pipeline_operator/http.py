"""The small HTTP server of a long-running process: health, readiness, metrics, and what routes are added."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import closing, suppress
from typing import Any, cast

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

# Says what is wrong, or None when nothing is.
Check = Callable[[], str | None]
_Handler = Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]


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


async def serve_apart(
    host: str, port: int, *, healthy: Check, ready: Check, extra_routes: Iterable[web.RouteDef] = ()
) -> None:
    """`serve` in a thread with an event loop of its own, so that it also answers while the caller's is stuck.

    The checks are called in that thread; `extra_routes` are handled on the caller's loop, once their body is there.
    """
    caller, loop = asyncio.get_running_loop(), asyncio.new_event_loop()
    routes = [web.route(each.method, each.path, _handled_on(caller, each)) for each in extra_routes]
    serving = loop.create_task(serve(host, port, healthy=healthy, ready=ready, extra_routes=routes))

    def run() -> None:
        with closing(loop):
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(serving)
            loop.run_until_complete(asyncio.sleep(0))  # the connections that were closed last let go of their sockets

    thread = caller.run_in_executor(None, run)
    try:
        await asyncio.shield(thread)
    finally:
        if not thread.done():
            loop.call_soon_threadsafe(serving.cancel)
            await thread


def _handled_on(loop: asyncio.AbstractEventLoop, route: web.RouteDef) -> _Handler:
    handler = cast("_Handler", route.handler)

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()  # here, where the connection is; the request keeps it
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(handler(request), loop))

    return handle


def _answering(check: Check) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_request: web.Request) -> web.Response:
        wrong = check()
        return web.Response(text=f"{wrong or 'ok'}\n", status=503 if wrong else 200)

    return answer
