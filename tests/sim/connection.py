"""One operator's connection to the API server of this world, which lists in pages and admits what chaos lets it."""

from collections.abc import Mapping
from typing import Any

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from sim.api_server import Key, has_ended
from sim.calls import Calls
from sim.truth import run_uid_of
from support.fake_kubernetes import is_selected, merge_patch

# The server may answer a list in smaller pages than it is asked for.
_PAGE = 3


class Connection(Calls):
    """See `Calls`."""

    def _carry_out(
        self, method: str, key: Key, query: Mapping[str, str], body: Json, fault: str | None, sent: float
    ) -> Json:
        self._world.chaos.admit(method, key, body, fault)
        result: Json = getattr(self, f"_{method.lower()}")(key, query, body)
        if method == "POST" and key[0] == "jobs":
            self._world.oracle.sent[result["metadata"]["uid"]] = sent
        return result

    def _is_fatal(self, key: Key, body: Json) -> bool:
        """Where giving a run up is: whether this is the write that a run has failed whose Job goes on."""
        if not self._process.doomed_by_giving_up or (body.get("status") or {}).get("phase") != "Failed":
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
        status = merge_patch(server.get(key).get("status") or {}, body["status"])
        return server.update(key, version=body["metadata"]["resourceVersion"], status=status)

    def _put(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        return self._world.server.update(key, version=body["metadata"]["resourceVersion"], spec=body["spec"])

    def _delete(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        self._world.server.delete(key, uid=body["preconditions"]["uid"])
        return {}


def _position(body: Json) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"
