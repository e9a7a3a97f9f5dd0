"""The one layer around all endpoints: request ids, limits of bodies, headers, the access log, metrics, defects.

Plain ASGI, since each layer of another kind costs a task and a queue for each request.
"""

import asyncio
from collections.abc import Callable

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline_bridge import access_log
from pipeline_bridge.exchange import Exchange
from pipeline_bridge.paths import PREFIX
from pipeline_bridge.problems import Problem
from pipeline_bridge.request_context import context_of

_log = structlog.get_logger(__name__)

# A client that stops sending in the middle of a body would otherwise be waited for without end.
_BODY_SECONDS = 30.0
_PREFIXED = f"{PREFIX}/"
_UNLOGGED = frozenset({"/healthz", "/readyz"})


class BridgeMiddleware:
    """`max_body_bytes` is the longest body that is read."""

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, log: Callable[[dict[str, object]], None] = access_log.write
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; anything else than HTTP is handed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].startswith(_PREFIXED):
            # As if the application were mounted there, too: the routes match what follows.
            scope["root_path"] = PREFIX
        context = context_of(scope["headers"])
        state = scope.setdefault("state", {})
        state["request_id"], state["traceparent"] = context.request_id, context.traceparent
        bound = structlog.contextvars.bind_contextvars(request_id=context.request_id)
        exchange = Exchange(scope, send, context)
        try:
            await self._answer(exchange, scope, receive)
        finally:
            structlog.contextvars.reset_contextvars(**bound)
            exchange.end()
            if scope["path"] not in _UNLOGGED:
                exchange.count()
                self._log(exchange.line())

    async def _answer(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        context = exchange.context
        if context.has_body:
            if context.body_bytes is not None and context.body_bytes > self._max_body_bytes:
                await exchange.refuse(Problem(413, "BodyTooLarge", self._too_large()))
                return
            receive = self._bounded(receive)
        try:
            await self._app(scope, receive, exchange.send)
        except ClientDisconnect:
            pass
        except Exception as error:
            _log.exception("unexpected error", exc_info=error)
            if exchange.status:
                return  # the server sees that the answer isn't complete, and closes the connection
            detail = "Something went wrong; the log has it under this request id"
            await exchange.refuse(Problem(500, "InternalError", detail))

    def _too_large(self) -> str:
        return f"The body has more than {self._max_body_bytes} bytes"

    def _bounded(self, receive: Receive) -> Receive:
        read, is_complete = 0, False
        until = asyncio.get_running_loop().time() + _BODY_SECONDS

        async def bounded() -> Message:
            nonlocal read, is_complete
            if is_complete:
                return await receive()  # waits for the client to go
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408, f"The body didn't come within {_BODY_SECONDS:g} s") from None
            read += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if read > self._max_body_bytes:
                raise HTTPException(413, self._too_large())
            return message

        return bounded
