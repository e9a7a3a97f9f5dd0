"""One operator's connection to the API server: calls take time, are refused, and get lost on either way.

What a call does happens at the server, whether or not the caller is still alive to hear of it.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from sim.api_server import Key
from sim.processes import Process
from support.fake_kubernetes import is_selected

if TYPE_CHECKING:
    from sim_schedules.world import World

_PATH = re.compile(
    r"(?:/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?P<sub>/status)?"
)
_CLIENT_TIMEOUT = 30.0
_KINDS = {names.RUNS, names.SCHEDULES}


class Connection:
    """See `pipeline_core.kube.api.Api`."""

    def __init__(self, world: "World", process: Process) -> None:
        self._world = world
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
            world.later(there, self._arrive, method, key, query or {}, body or {}, fault, back, dies, answer)
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
        back: float,
        dies: bool,
        answer: "asyncio.Future[Json]",
    ) -> None:
        error: Exception | None = None
        result: Json = {}
        try:
            if fault in {"429", "503"}:
                raise KubeUnavailableError(f"{method} {key[0]}: HTTP {fault}")
            if fault == "409":
                raise KubeError(409, "Conflict", "the object has been modified")
            self._world.writer = self._process.name
            result = getattr(self, f"_{method.lower()}")(key, query, body)
        except (KubeError, KubeUnavailableError) as refused:
            error = refused
        finally:
            self._world.writer = ""
        if key[0] in _KINDS and (key[2] or method == "POST"):
            self._note(method, key, body, error, fault)
        if dies:
            self._process.kill()
        if fault == "lost after":
            error = KubeUnavailableError(f"{method} {key[0]}: connection lost")
        if error is not None:
            self._world.later(back, _fail, answer, error)
        else:
            self._world.later(back, _succeed, answer, result)

    def _note(self, method: str, key: Key, body: Json, error: Exception | None, fault: str | None) -> None:
        name = key[2] or body["metadata"]["name"]
        about = name.partition("-")[0]  # a run's name begins with its schedule's
        said = f"{method} {key[0]}/{name} {_short(body)}: {error or 'ok'}{f' ({fault})' if fault else ''}"
        self._world.note(self._process.name, about, said)

    def _get(self, key: Key, query: Mapping[str, str], _body: Json) -> Json:
        server = self._world.server
        if key[2]:
            return server.get(key)
        items = [
            item
            for item in server.of(key[0])
            if key[1] in {"", item["metadata"]["namespace"]} and is_selected(item, query)
        ]
        return {"items": items, "metadata": {"resourceVersion": str(server.version)}}

    def _post(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        if key[0] not in _KINDS:
            return body  # Events are told to nobody here
        return self._world.server.create(key[0], key[1], body)

    def _patch(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        server = self._world.server
        before, given = server.get(key), body.get("metadata", {})
        if given.get("uid") not in {None, before["metadata"]["uid"]}:
            raise KubeError(409, "Conflict", "the UID in the precondition doesn't match")
        version = given.get("resourceVersion")
        if "status" in body:
            return server.write_status(key, version, _merged(before["status"], body["status"]))
        assert key[0] == names.RUNS, "the operator writes no schedule but its status"
        return server.update(key, version=version, spec=_merged(before["spec"], body["spec"]))

    def _delete(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        self._world.server.delete(key, uid=body["preconditions"]["uid"])
        return {}


def _short(body: Json) -> str:
    if status := body.get("status"):
        wanted = ("handledUntil", "nextRunAt", "active", "missed", "lastMissed", "backlog", "backfill")
        return str({name: status[name] for name in wanted if name in status})
    return str(body.get("metadata", {}).get("annotations", "")) if body else ""


def _succeed(answer: "asyncio.Future[Json]", result: Json) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: "asyncio.Future[Json]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _merged(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merged(merged.get(name), value)
    return merged
