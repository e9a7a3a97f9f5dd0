"""The API server of `sim`, without the history that a month would make of its log, and with who wrote what when."""

from typing import Any

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from sim.api_server import ApiServer, Change, Key
from sim.virtual_time import stamp

OPERATOR = "pipelines-operator"


class Server(ApiServer):
    """Schedules have `managedFields`, whose times are the only ones that tell of an edit."""

    def create(self, plural: str, namespace: str, body: Json) -> Json:
        """Raises KubeError 409 AlreadyExists."""
        if plural == names.SCHEDULES:
            body = {**body, "metadata": {**body["metadata"], "managedFields": [self._entry("kubectl", {})]}}
        return super().create(plural, namespace, body)

    def edit(self, key: Key, manager: str, *, annotations: Json | None = None, spec: Json | None = None) -> Json:
        """A user's write of a schedule."""
        metadata = self.get(key)["metadata"]
        fields = [each for each in metadata["managedFields"] if each["manager"] != manager]
        changed: Json = {"managedFields": [*fields, self._entry(manager, {})]}
        if annotations is not None:
            changed["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
        return self.update(key, metadata=changed, **({} if spec is None else {"spec": spec}))

    def write_status(self, key: Key, version: str | None, status: Json) -> Json:
        """The operator's write. Raises KubeError 404, 409 Conflict."""
        before = self.get(key)
        if before["status"] == status or key[0] != names.SCHEDULES:
            return self.update(key, version=version, status=status)
        fields = [each for each in before["metadata"]["managedFields"] if each["manager"] != OPERATOR]
        entry = self._entry(OPERATOR, {"subresource": "status"})
        return self.update(key, version=version, status=status, metadata={"managedFields": [*fields, entry]})

    def _entry(self, manager: str, more: dict[str, Any]) -> Json:
        return {"manager": manager, "operation": "Update", "time": stamp(self._loop.now()), **more}

    def _note(self, kind: str, key: Key, body: Json, before: Json | None) -> Json:
        result = super()._note(kind, key, body, before)
        self.log[key[0]].clear()  # watches here are told, they don't read back
        return result


__all__ = ["OPERATOR", "Change", "Server"]
