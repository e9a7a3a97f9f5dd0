"""Writes the status of a PipelineSchedule: one patch where something changed, none where nothing did."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import structlog

from pipeline_core.kube.api import KubeError
from pipeline_operator.cluster import Cluster
from pipeline_operator.schedules.cache import ScheduleCache, ScheduleEntry
from pipeline_operator.schedules.status import build_status, difference
from pipeline_operator.status import Status
from pipeline_operator.writer import ConflictError

_log = structlog.get_logger(__name__)


class ScheduleWriter:
    """`now` is the wall clock in UTC."""

    def __init__(self, cluster: Cluster, cache: ScheduleCache, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._cache = cache
        self._now = now
        self._told_of_crd = False

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
        self._compare(patch, body.get("status") or {})
        if body["metadata"]["uid"] == schedule.uid:
            self._cache.put(body)
        entry.decided = None

    def _compare(self, patch: Status, answer: Mapping[str, Any]) -> None:
        """The API server leaves out, without a word, what the CRD doesn't know of."""
        left_out = sorted(name for name, value in patch.items() if value is not None and name not in answer)
        if left_out and not self._told_of_crd:
            self._told_of_crd = True
            _log.error(
                "the CRD of PipelineSchedules is older than the operator: apply crds/pipelineschedules.yaml of this "
                "version, or ticks may be missed, or have two runs",
                left_out=left_out,
            )
