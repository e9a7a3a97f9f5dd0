"""One operator's connection to the API server of this world, which takes what it writes of schedules and runs."""

from collections.abc import Mapping

from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from sim.api_server import Key
from sim.calls import Calls
from support.fake_kubernetes import is_selected, merge_patch

_KINDS = {names.RUNS, names.SCHEDULES}


class Connection(Calls):
    """See `Calls`."""

    def _carry_out(
        self, method: str, key: Key, query: Mapping[str, str], body: Json, fault: str | None, _sent: float
    ) -> Json:
        if fault in {"429", "503"}:
            raise KubeUnavailableError(f"{method} {key[0]}: HTTP {fault}")
        if fault == "409":
            raise KubeError(409, "Conflict", "the object has been modified")
        self._world.writer = self._process.name
        try:
            result: Json = getattr(self, f"_{method.lower()}")(key, query, body)
        finally:
            self._world.writer = ""
        return result

    def _note(
        self, method: str, key: Key, _query: Mapping[str, str], body: Json, error: Exception | None, fault: str | None
    ) -> None:
        if key[0] not in _KINDS or not (key[2] or method == "POST"):
            return
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
            return server.write_status(key, version, merge_patch(before["status"], body["status"]))
        assert key[0] == names.RUNS, "the operator writes no schedule but its status"
        return server.update(key, version=version, spec=merge_patch(before["spec"], body["spec"]))

    def _delete(self, key: Key, _query: Mapping[str, str], body: Json) -> Json:
        self._world.server.delete(key, uid=body["preconditions"]["uid"])
        return {}


def _short(body: Json) -> str:
    if status := body.get("status"):
        wanted = ("handledUntil", "nextRunAt", "active", "missed", "lastMissed", "backlog", "backfill")
        return str({name: status[name] for name in wanted if name in status})
    return str(body.get("metadata", {}).get("annotations", "")) if body else ""
