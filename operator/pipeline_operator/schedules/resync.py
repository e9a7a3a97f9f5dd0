"""Looks at all schedules again from time to time: what the watch has lost, and what the mirror should hold."""

from collections.abc import Callable, Sequence

import structlog

from pipeline_core.kube import names
from pipeline_core.kube.api import Json
from pipeline_operator.cluster import Cluster
from pipeline_operator.schedules.cache import ScheduleCache

_log = structlog.get_logger(__name__)


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

    async def round(self, served: Sequence[str | None], gone: Sequence[str | None]) -> None:
        """List the schedules of the namespaces that are served (None: of all), in chunks, and compare.

        Those of namespaces that are gone are gone, too. Raises KubeError, KubeUnavailableError.
        """
        known = {entry.schedule.uid: entry.schedule.namespace for entry in self._cache.entries()}
        listed: set[str] = set()
        for namespace in served:
            await self._list(namespace, listed)
        for uid, namespace in known.items():
            if uid not in listed and (None in served or namespace in served or namespace in gone):
                # Its deletion's event was lost.
                self._cache.drop(uid)
                self._dropped(uid)

    async def _list(self, namespace: str | None, listed: set[str]) -> None:
        async for body in self._cluster.list_schedules(namespace):
            listed.add(body["metadata"]["uid"])
            if self._put(body):
                self._wake(body["metadata"]["uid"])

    def _put(self, body: Json) -> bool:
        try:
            return self._cache.put(body)
        except (KeyError, TypeError, ValueError):
            _log.exception("object not understood", kind=names.SCHEDULE_KIND, uid=body["metadata"]["uid"])
            return False
