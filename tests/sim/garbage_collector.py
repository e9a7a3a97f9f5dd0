"""The garbage collector: what is owned goes after its owner, a moment or a good while later."""

from typing import TYPE_CHECKING

from pipeline_core.kube import names
from sim.api_server import Change, Key, key_of, owner_uid

if TYPE_CHECKING:
    from sim.world import World


class GarbageCollector:
    """Jobs after their PipelineRun, pods after their Job; also what was made when its owner had already gone."""

    def __init__(self, world: "World") -> None:
        self._world = world
        world.server.listeners.append(self._changed)

    def orphan(self, key: Key) -> None:
        """`--cascade=orphan`: take the owner's name off what it owns, then remove it."""
        server = self._world.server
        uid = server.get(key)["metadata"]["uid"]
        for plural in ("jobs", "pods"):
            for body in server.of(plural):
                if owner_uid(body) == uid:
                    server.update(key_of(plural, body), metadata={"ownerReferences": []})
        server.remove(key)

    def _changed(self, change: Change) -> None:
        plural = change.key[0]
        if change.kind == "DELETED" and plural in {names.RUNS, "jobs"}:
            self._world.later(self._delay(), self._collect, change.body["metadata"]["uid"])
        elif change.kind == "ADDED" and (owner := owner_uid(change.body)):
            self._world.later(self._delay(), self._collect, owner)

    def _collect(self, owner: str) -> None:
        server = self._world.server
        if any(server.find(plural, owner) for plural in (names.RUNS, "jobs")):
            return
        for plural in ("jobs", "pods"):
            for body in server.of(plural):
                if owner_uid(body) == owner and "deletionTimestamp" not in body["metadata"]:
                    server.delete(key_of(plural, body))

    def _delay(self) -> float:
        return self._world.chaos.garbage_delay()
