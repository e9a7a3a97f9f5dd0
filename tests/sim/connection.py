"""One operator's connection to the API server: calls take time, are refused, and get lost on either way.

What a call does happens at the server, whether or not the caller is still alive to hear of it.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from sim.api_server import Key, has_ended
from sim.processes import Process
from sim.truth import run_uid_of
from support.fake_kubernetes import is_selected

if TYPE_CHECKING:
    from sim.world import World

_PATH = re.compile(
    r"(?:/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?P<sub>/status)?"
)
_CLIENT_TIMEOUT = 30.0
# The server may answer a list in smaller pages than it is asked for.
_PAGE = 3


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
        fault = world.chaos.of_call(method, key)
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
            self._world.chaos.admit(method, key, body, fault)
            result = getattr(self, f"_{method.lower()}")(key, query, body)
            if method == "POST" and key[0] == "jobs":
                self._world.oracle.sent[result["metadata"]["uid"]] = sent
        except (KubeError, KubeUnavailableError) as refused:
            error = refused
        self._note(method, key, query, body, error, fault)
        if dies or (self._process.doomed_by_giving_up and error is None and self._gives_up(key, body)):
            self._process.kill()
        if fault == "lost after":
            error = KubeUnavailableError(f"{method} {key[0]}: connection lost")
        if error is not None:
            self._world.later(back, _fail, answer, error)
        else:
            self._world.later(back, _succeed, answer, result)

    def _gives_up(self, key: Key, body: Json) -> bool:
        """Whether this is the write that a run has failed whose Job goes on."""
        if (body.get("status") or {}).get("phase") != "Failed":
            return False
        uid = self._world.server.get(key)["metadata"]["uid"]
        return any(run_uid_of(job) == uid and not has_ended("jobs", job) for job in self._world.server.of("jobs"))

    def _note(
        self, method: str, key: Key, query: Mapping[str, str], body: Json, error: Exception | None, fault: str | None
    ) -> None:
        world, name = self._world, self._process.name
        if key[0] == "leases":
            return
        uid = world.truth.uid_of(key, body)
        if selector := query.get("labelSelector"):
            uid = world.truth.uid_of_record(selector.partition("=")[2])
        told = str(error) if error is not None else "ok"
        said = f"{method} {key[0]}/{key[2] or body.get('metadata', {}).get('name', '')}"
        if status := body.get("status"):
            said += f" {status.get('phase', '')} {status.get('message', '')!r}"
        world.note(name, uid, f"{said}: {told}{f' ({fault})' if fault else ''}")
        if method == "GET" and (error is None or getattr(error, "status", 0) == 404):
            world.oracle.looked(name, key[0], uid)
        elif method != "GET" and error is None and key[0] != "events":
            world.oracle.written(name, method, key, uid)

    def _get(self, key: Key, query: Mapping[str, str], _body: Json) -> Json:
        server = self._world.server
        if key[2]:
            return server.get(key)
        if token := query.get("continue"):
            version, _, after = token.partition(":")
            self._world.chaos.expire_list()
        else:
            version, after = str(server.version), ""
        items = [
            item
            for item in (server.of(key[0]) if int(version) == server.version else server.as_of(key[0], int(version)))
            if key[1] in {"", item["metadata"]["namespace"]} and is_selected(item, query) and _position(item) > after
        ]
        items.sort(key=_position)
        metadata: dict[str, Any] = {"resourceVersion": version}
        if "limit" in query and len(items) > _PAGE:
            items = items[:_PAGE]
            metadata["continue"] = f"{version}:{_position(items[-1])}"
        return {"items": items, "metadata": metadata}

    def _post(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        return self._world.server.create(key[0], key[1], body)

    def _patch(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        server = self._world.server
        assert key[0] == names.RUNS, "the operator patches runs alone"
        status = _merge_patch(server.get(key).get("status") or {}, body["status"])
        return server.update(key, version=body["metadata"]["resourceVersion"], status=status)

    def _put(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        return self._world.server.update(key, version=body["metadata"]["resourceVersion"], spec=body["spec"])

    def _delete(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        self._world.server.delete(key, uid=body["preconditions"]["uid"])
        return {}


def _position(body: Json) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _succeed(answer: "asyncio.Future[Json]", result: Json) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: "asyncio.Future[Json]", error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _merge_patch(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge_patch(merged.get(name), value)
    return merged
