"""The API server's store: objects with versions, a log of changes for the watches, preconditions, graceful deletion.

Bodies are never changed in place: every write makes a new one, so that whoever was answered keeps what was answered.
"""

import uuid
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

from pipeline_core.kube.api import Json, KubeError
from sim.virtual_time import VirtualLoop, stamp

Key = tuple[str, str, str]


class Change(NamedTuple):
    """One line of the log; `body` of a deletion is the object as it was last, at the deletion's version."""

    version: int
    key: Key
    kind: str
    body: Json
    before: Json | None


class ApiServer:
    """Objects by (plural, namespace, name). `listeners` hear of every change at once, watches read the log."""

    def __init__(self, loop: VirtualLoop, random: Random) -> None:
        self._loop = loop
        self._random = random
        self.objects: dict[Key, Json] = {}
        self.log: dict[str, list[Change]] = {}
        self.version = 100
        self.listeners: list[Callable[[Change], None]] = []

    def of(self, plural: str) -> list[Json]:
        """All objects of a kind, as they are."""
        return [body for key, body in self.objects.items() if key[0] == plural]

    def find(self, plural: str, uid: str) -> Json | None:
        """The object of this UID."""
        return next((body for body in self.of(plural) if body["metadata"]["uid"] == uid), None)

    def get(self, key: Key) -> Json:
        """Raises KubeError 404."""
        try:
            return self.objects[key]
        except KeyError:
            raise KubeError(404, "NotFound", f"{key[0]} {key[2]!r} not found") from None

    def create(self, plural: str, namespace: str, body: Json) -> Json:
        """Raises KubeError 409 AlreadyExists."""
        key = (plural, namespace, body["metadata"]["name"])
        if key in self.objects:
            raise KubeError(409, "AlreadyExists", f"{plural} {key[2]!r} already exists")
        metadata = {
            **body["metadata"],
            "namespace": namespace,
            "uid": str(uuid.UUID(int=self._random.getrandbits(128), version=4)),
            "creationTimestamp": stamp(self._loop.now()),
            "generation": 1,
        }
        return self._store("ADDED", key, {"status": {}, **body, "metadata": metadata}, None)

    def update(self, key: Key, *, version: str | None = None, **parts: Any) -> Json:
        """Replace whole parts (spec, status; metadata is merged). Raises KubeError 404, 409 Conflict."""
        before = self.get(key)
        if version not in {None, before["metadata"]["resourceVersion"]}:
            raise KubeError(409, "Conflict", "the object has been modified")
        metadata = {**before["metadata"], **parts.pop("metadata", {})}
        after = {**before, **parts, "metadata": metadata}
        if after == before:
            return before
        if after.get("spec") != before.get("spec"):
            metadata["generation"] = before["metadata"]["generation"] + 1
        return self._store("MODIFIED", key, after, before)

    def delete(self, key: Key, *, uid: str | None = None) -> Json:
        """As DELETE does: a pod on a node and an object with finalizers are only marked."""
        before = self.get(key)
        metadata = before["metadata"]
        if uid not in {None, metadata["uid"]}:
            raise KubeError(409, "Conflict", "the UID in the precondition doesn't match")
        if metadata.get("finalizers") or _runs_on_a_node(key, before):
            if "deletionTimestamp" in metadata:
                return before
            # The end of the grace period, not its beginning.
            gone_by = self._loop.now() + timedelta(seconds=before["spec"].get("terminationGracePeriodSeconds", 0))
            return self.update(key, metadata={"deletionTimestamp": stamp(gone_by)})
        return self.remove(key)

    def remove(self, key: Key) -> Json:
        """Gone."""
        before = self.objects.pop(key)
        return self._note("DELETED", key, before, before)

    def as_of(self, plural: str, version: int) -> list[Json]:
        """The objects of a kind as a replica that is as old as `version` would list them."""
        found: dict[Key, Json] = {}
        for change in self.log.get(plural, ()):
            if change.version > version:
                break
            if change.kind == "DELETED":
                found.pop(change.key, None)
            else:
                found[change.key] = change.body
        return list(found.values())

    def _store(self, kind: str, key: Key, body: Json, before: Json | None) -> Json:
        self.objects[key] = body
        return self._note(kind, key, body, before)

    def _note(self, kind: str, key: Key, body: Json, before: Json | None) -> Json:
        self.version += 1
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self.version)}}
        if kind != "DELETED":
            self.objects[key] = body
        change = Change(self.version, key, kind, body, before)
        self.log.setdefault(key[0], []).append(change)
        for listener in self.listeners:
            listener(change)
        return body


def _runs_on_a_node(key: Key, body: Json) -> bool:
    return key[0] == "pods" and "nodeName" in body["spec"] and not is_terminal(body)


def is_terminal(pod: Json) -> bool:
    """Whether its containers have stopped for good."""
    return pod["status"].get("phase") in {"Succeeded", "Failed"}


def has_ended(plural: str, body: Json) -> bool:
    """Whether a pod or a Job is over, by itself or by Kubernetes."""
    conditions = {c["type"] for c in body["status"].get("conditions") or ()}
    return is_terminal(body) if plural == "pods" else bool(conditions & {"Complete", "Failed"})


def key_of(plural: str, body: Json) -> Key:
    """Under which the object is stored."""
    return plural, body["metadata"]["namespace"], body["metadata"]["name"]


def owner_uid(body: Json) -> str | None:
    """The UID of the controller that owns the object."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), None)
