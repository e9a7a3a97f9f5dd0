"""Looks at all schedules again from time to time: what the watch has lost, and what the mirror should hold."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError
from pipeline_operator.cluster import Cluster
from pipeline_operator.schedules.cache import ScheduleCache

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """The namespaces (None: all) whose schedules were listed, and the UIDs of all of them, understood or not."""

    namespaces: Sequence[str | None]
    uids: Collection[str]


class Resync:
    """A part of the sweep. `wake` is called with each schedule that differs, `dropped` with each that is gone."""

    def __init__(
        self,
        cluster: Cluster,
        cache: ScheduleCache,
        wake: Callable[[str], None],
        dropped: Callable[[str], None],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._wake = wake
        self._dropped = dropped
        self._refused: set[str | None] = set()

    async def round(self, served: Sequence[str | None], gone: Sequence[str | None]) -> Listed:
        """List the schedules of the namespaces that are served (None: of all), in chunks, and compare.

        Those of namespaces that are gone are gone, too. What has become of those that this process has no right to
        list nobody knows. Raises KubeError, KubeUnavailableError.
        """
        known = {entry.schedule.uid: entry.schedule.namespace for entry in self._cache.entries()}
        listed: set[str] = set()
        read = [namespace for namespace in served if await self._list(namespace, listed)]
        for uid, namespace in known.items():
            if uid not in listed and (None in read or namespace in read or namespace in gone):
                # Its deletion's event was lost.
                self._cache.drop(uid)
                self._dropped(uid)
        return Listed(read, listed)

    async def _list(self, namespace: str | None, listed: set[str]) -> bool:
        """Put what is there into the memory, and its UIDs into `listed`; False where that is refused."""
        try:
            async for body in self._cluster.list_schedules(namespace):
                listed.add(body["metadata"]["uid"])
                if self._put(body):
                    self._wake(body["metadata"]["uid"])
        except KubeError as error:
            if error.status != 403:
                raise
            if namespace not in self._refused:  # said once of each
                _log.error("schedules can't be listed", namespace=namespace or "all", error=error.message)
            self._refused.add(namespace)
            return False
        self._refused.discard(namespace)
        return True

    def _put(self, body: Json) -> bool:
        try:
            return self._cache.put(body)
        except (KeyError, TypeError, ValueError):
            _log.exception("object not understood", kind=names.SCHEDULE_KIND, uid=body["metadata"]["uid"])
            return False
