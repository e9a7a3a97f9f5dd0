"""The one layer around all endpoints: request ids, limits of bodies, headers, the access log, metrics, defects.

Plain ASGI, since each layer of another kind costs a task and a queue for each request.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline_bridge import access_log, metrics
from pipeline_bridge.description import PREFIX
from pipeline_bridge.problem_answers import answer
from pipeline_bridge.problems import Problem
from pipeline_bridge.request_context import RequestContext, context_of

_log = structlog.get_logger(__name__)

# A client that stops sending in the middle of a body would otherwise be waited for without end.
_BODY_SECONDS = 30.0
_PREFIXED = f"{PREFIX}/"
_UNLOGGED = frozenset({"/healthz", "/readyz"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Not a status of HTTP: what logs of proxies have where the client went before there was an answer.
_CLIENT_GONE = 499


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
        exchange = _Exchange(scope, send, context)
        try:
            await self._answer(exchange, scope, receive)
        finally:
            structlog.contextvars.reset_contextvars(**bound)
            exchange.end()
            if scope["path"] not in _UNLOGGED:
                exchange.count()
                self._log(exchange.line())

    async def _answer(self, exchange: "_Exchange", scope: Scope, receive: Receive) -> None:
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


class _Exchange:
    """One request and its answer."""

    __slots__ = ("_begun", "_is_stream", "_send", "_sent", "context", "scope", "status")

    def __init__(self, scope: Scope, send: Send, context: RequestContext) -> None:
        self.scope = scope
        self.context = context
        self.status = 0
        self._send = send
        self._sent = 0
        self._is_stream = False
        self._begun = perf_counter()

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on; its beginning gets the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._with_common(list(message.get("headers", ())))
        elif message["type"] == "http.response.body":
            self._sent += len(message.get("body", b""))
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem in the endpoint's place."""
        response = answer(problem, path=self.scope["path"], request_id=self.context.request_id)
        await response(self.scope, _nothing, self.send)

    def end(self) -> None:
        """The answer is over, whether complete or not."""
        if self._is_stream:
            metrics.OPEN_STREAMS.dec()

    def count(self) -> None:
        """Add the request to the metrics."""
        method, route = self.scope["method"], self._route()
        metrics.request_count(method if method in _METHODS else "other", route, self._status()).inc()
        if not self._is_stream:
            metrics.request_seconds(route).observe(perf_counter() - self._begun)

    def line(self) -> dict[str, object]:
        """The request as the access log has it."""
        scope, state = self.scope, self.scope["state"]
        client = scope.get("client")
        fields = {
            "method": scope["method"],
            "path": access_log.clean_path(scope["path"]),
            "route": self._route(),
            "status": self._status(),
            "duration_ms": round((perf_counter() - self._begun) * 1000, 2),
            "bytes": self._sent,
            "client": client[0] if client else None,
            "key_id": state.get("key_id"),
            "org": state.get("org"),
            "request_id": self.context.request_id,
            "trace_id": self.context.trace_id,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def _with_common(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        has_cache_control = has_length = False
        for name, _ in headers:
            if name == b"cache-control":
                has_cache_control = True
            elif name == b"content-length":
                has_length = True
        if not has_length and self.status == 200:
            self._is_stream = True
            metrics.OPEN_STREAMS.inc()
        headers.append((b"x-request-id", self.context.request_id.encode()))
        headers.append((b"x-content-type-options", b"nosniff"))
        if not has_cache_control:
            headers.append((b"cache-control", b"no-store"))
        headers.extend(self.scope["state"].get("answer_headers", ()))
        return headers

    def _route(self) -> str:
        # With or without /api/v1 it is the same one.
        return getattr(self.scope.get("route"), "path", "other")

    def _status(self) -> int:
        return self.status or _CLIENT_GONE


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
