"""One request and its answer: the headers that all answers have, the line of the access log, the metrics."""

from time import perf_counter

from starlette.types import Message, Scope, Send

from pipeline_bridge import access_log, metrics
from pipeline_bridge.problem_answers import answer
from pipeline_bridge.problems import Problem
from pipeline_bridge.request_context import RequestContext

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Not a status of HTTP: what logs of proxies have where the client went before there was an answer.
_CLIENT_GONE = 499


class Exchange:
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
