"""One operator's calls to the API server: they take time, are refused, and get lost on either way.

What a call does happens at the server, whether or not the caller is still alive to hear of it.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from sim.api_server import Key
from sim.base import BaseWorld
from sim.processes import Process

_PATH = re.compile(
    r"(?:/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?P<sub>/status)?"
)
_CLIENT_TIMEOUT = 30.0


class Calls:
    """See `pipeline_core.kube.api.Api`. What the server does with a call is up to the world."""

    def __init__(self, world: BaseWorld, process: Process) -> None:
        self._world: Any = world
        self._process = process

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Json:
        """One call, with what the seed has in store for it."""
        world, process = self._world, self._process
        match = _PATH.fullmatch(path)
        assert match is not None, path
        key = (match["plural"], match["ns"] or "", match["name"] or "")
        dies = process.call()
        if not process.alive:
            await world.loop.create_future()  # killed before the call was made
        answer: asyncio.Future[Json] = world.loop.create_future()
        fault = world.chaos.of_call(method)
        there, back = world.latency(), world.latency()
        if fault == "slow":
            there += world.random.choice((1.0, 5.0, 20.0, 40.0))
        if fault == "lost before":
            world.later(there, _fail, answer, KubeUnavailableError(f"{method} {path}: connection reset"))
        else:
            sent = world.loop.time()
            world.later(there, self._arrive, method, key, query or {}, body or {}, fault, sent, back, dies, answer)
        if there + back > _CLIENT_TIMEOUT:
            world.later(_CLIENT_TIMEOUT, _fail, answer, KubeUnavailableError(f"{method} {path}: no answer in time"))
        return await answer

    def _arrive(
        self,
        method: str,
        key: Key,
        query: Mapping[str, str],
        body: Json,
        fault: str | None,
        sent: float,
        back: float,
        dies: bool,
        answer: "asyncio.Future[Json]",
    ) -> None:
        error: Exception | None = None
        result: Json = {}
        try:
            result = self._carry_out(method, key, query, body, fault, sent)
        except (KubeError, KubeUnavailableError) as refused:
            error = refused
        self._note(method, key, query, body, error, fault)
        if dies or (error is None and self._is_fatal(key, body)):
            self._process.kill()
        if fault == "lost after":
            error = KubeUnavailableError(f"{method} {key[0]}: connection lost")
        if error is not None:
            self._world.later(back, _fail, answer, error)
        else:
            self._world.later(back, _succeed, answer, result)

    def _carry_out(
        self, method: str, key: Key, query: Mapping[str, str], body: Json, fault: str | None, sent: float
    ) -> Json:
        """What the server does with a call that was `sent` at this time. Raises what it answers instead."""
        raise NotImplementedError

    def _note(
        self, method: str, key: Key, query: Mapping[str, str], body: Json, error: Exception | None, fault: str | None
    ) -> None:
        """Tell the trace of it."""
        raise NotImplementedError

    def _is_fatal(self, _key: Key, _body: Json) -> bool:
        """Whether the process dies once it has done this."""
        return False


def _succeed(answer: "asyncio.Future[Json]", result: Json) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: "asyncio.Future[Json]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)
