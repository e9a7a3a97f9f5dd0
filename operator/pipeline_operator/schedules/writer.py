"""Writes the status of a PipelineSchedule: one patch where something changed, none where nothing did."""

from collections.abc import Callable
from datetime import datetime

from pipeline_core.kube.api import KubeError
from pipeline_operator.cluster import Cluster
from pipeline_operator.schedules.cache import ScheduleCache, ScheduleEntry
from pipeline_operator.schedules.status import build_status, difference
from pipeline_operator.status import Status
from pipeline_operator.writer import ConflictError


class ScheduleWriter:
    """`now` is the wall clock in UTC."""

    def __init__(self, cluster: Cluster, cache: ScheduleCache, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._cache = cache
        self._now = now

    def difference(self, entry: ScheduleEntry) -> Status | None:
        """What would be written."""
        if entry.decided is None:
            return None
        return difference(entry.status, build_status(entry.schedule, entry.decided), self._now())

    async def write(self, entry: ScheduleEntry) -> None:
        """Make the object's status say what was decided.

        Bound to the version that it was decided from: raises ConflictError where the object has changed; its absence is
        no error, for then nobody reads it.
        """
        patch = self.difference(entry)
        if patch is None:
            entry.decided = None
            return
        schedule = entry.schedule
        try:
            body = await self._cluster.patch_schedule_status(
                schedule.namespace, schedule.name, schedule.resource_version, patch
            )
        except KubeError as error:
            if error.status == 404:
                self._cache.drop(schedule.uid)
                return
            if error.status == 409:
                entry.decided = None
                raise ConflictError(error.message) from error
            raise
        if body["metadata"]["uid"] == schedule.uid:
            self._cache.put(body)
        entry.decided = None
