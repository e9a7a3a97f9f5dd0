"""The ASGI application: both providers below /openai and /anthropic, and the simulators' own control."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from types import ModuleType
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from pipeline_local.simulators import anthropic, numbers, openai
from pipeline_local.simulators.answers import Answer, Request
from pipeline_local.simulators.control import control
from pipeline_local.simulators.faults import Fault
from pipeline_local.simulators.protocol import BREAK
from pipeline_local.simulators.simulation import Seen, Simulation
from pipeline_local.simulators.world import Provider

_SERVICES: dict[Provider, ModuleType] = {"openai": openai, "anthropic": anthropic}
_ANSWERS_KEPT = 256


def application(simulation: Simulation) -> Starlette:
    """All of it, on this state."""
    services: list[Mount] = [Mount(f"/{name}", _Service(simulation, name)) for name in _SERVICES]
    return Starlette(routes=[*services, Mount("/_simulator", control(simulation))])


@dataclass
class _Service:
    """One provider: answers rightly, but for what the plan's faults make of it."""

    simulation: Simulation
    provider: Provider

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(f"/{self.provider}")
        query = scope["query_string"].decode("latin-1")
        headers = dict(Headers(scope=scope))
        seen = self.simulation.begin(self.provider, path, query, headers)
        try:
            fault = self.simulation.fault(self.provider, path, query)
            seen.fault = None if fault is None else fault.kind or str(fault.status)
            await asyncio.sleep(self._delay(fault))
            answer, body = self._answer(scope["method"], path, query, headers, fault)
            await _deliver(answer, body, fault, seen, scope, receive, send)
        finally:
            self.simulation.end(seen)

    def _delay(self, fault: Fault | None) -> float:
        plan = self.simulation.plan
        slow = fault is not None and fault.kind == "slow"
        return (plan.latency_ms + (plan.slow_ms if slow else 0)) / 1000

    def _answer(
        self, method: str, path: str, query: str, headers: dict[str, str], fault: Fault | None
    ) -> tuple[Answer, bytes]:
        if fault is not None and fault.status is not None:
            return _written(Answer(fault.status, fault.body, fault.headers))
        if method != "GET":
            return _written(Answer(405, {"error": {"message": f"Not allowed to {method} this"}}, {"allow": "GET"}))
        simulation, service = self.simulation, _SERVICES[self.provider]
        # before the plan is looked at: when another one comes, so do other answers
        written, world = simulation.written, simulation.world
        now, kind = world.now(), None if fault is None else fault.kind
        who = (service.organization_key(headers), headers.get("anthropic-version"))
        # to the minute, as the world's data
        asked = (self.provider, who, path, query, kind, now.replace(second=0, microsecond=0))
        if asked in written:
            return written[asked]
        request = Request(path, parse_qsl(query, keep_blank_values=True), headers, world, world.plan, now, kind)
        made = _written(service.answer(request))
        if made[0].status == HTTPStatus.OK:
            if len(written) >= _ANSWERS_KEPT:
                written.clear()
            written[asked] = made
        return made


def _written(answer: Answer) -> tuple[Answer, bytes]:
    text = isinstance(answer.document, str)
    return answer, answer.document.encode() if text else numbers.dumps(answer.document)


async def _deliver(
    answer: Answer, body: bytes, fault: Fault | None, seen: Seen, scope: Scope, receive: Receive, send: Send
) -> None:
    kind = None if fault is None else fault.kind
    if kind == "dropped":
        await _broken(scope, receive)
        return
    if kind == "truncated":
        body = body[: len(body) * 2 // 3]
    headers = {"content-type": "application/json", **answer.headers, "content-length": str(len(body))}
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    if kind == "reset":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await _broken(scope, receive)
        return
    seen.status = answer.status
    await send({"type": "http.response.body", "body": body})


async def _broken(scope: Scope, receive: Receive) -> None:
    """Break the connection, and return when the server has noticed: else it would send an answer of its own."""
    scope["extensions"][BREAK]["now"]()
    while (await receive())["type"] != "http.disconnect":
        pass
