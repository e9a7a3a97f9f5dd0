"""Settles a run whose object is gone: its Job and pods first, then its record, as cancelled.

There is no finalizer, so a run can always be deleted; what is left of it is found by the DELETED event or by the sweep.
"""

from collections.abc import Callable
from datetime import datetime

import structlog

from pipeline_core import identifiers
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.lifecycle.reasons import Reason
from pipeline_operator import metrics
from pipeline_operator.cache import Cache, Vanished
from pipeline_operator.cluster import Cluster
from pipeline_operator.ending import Records
from pipeline_operator.parsing import parse_job, parse_pod

_log = structlog.get_logger(__name__)

# Pods take a moment to go after their Job.
_RECHECK_SECONDS = 1.0


class Settling:
    """`now` is the wall clock in UTC."""

    def __init__(self, cluster: Cluster, cache: Cache, records: Records, now: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._cache = cache
        self._records = records
        self._now = now

    async def settle(self, uid: str) -> float | None:
        """End the record of the vanished run, once nothing of it runs; returns when to look again."""
        vanished = self._cache.get(uid).vanished
        if vanished is None:
            self._cache.forget(uid)  # a Job or pod was seen before its run, or after its end
            return None
        body = await self._cluster.get_run(vanished.namespace, vanished.name)
        if body is not None and body["metadata"]["uid"] == uid:
            self._cache.put_run(body)  # not gone at all: the list was older than the object
            return 0.0
        record = await self._records.get(vanished.run_id)
        if record is None or record.phase.is_final or record.object_uid != uid:
            self._cache.forget(uid)
            return None
        if await self._still_running(vanished):
            return _RECHECK_SECONDS
        # crash here: the sweep finds the record again.
        await self._finish(vanished)
        self._cache.forget(uid)
        return None

    async def _still_running(self, vanished: Vanished) -> bool:
        body = await self._cluster.get_job(vanished.namespace, identifiers.object_name(vanished.run_id))
        if body is not None:
            job = parse_job(body)
            if job.owner_uid in {vanished.uid, ""} and not job.deleting:
                # `--cascade=orphan`, or the garbage collector hasn't come to it yet.
                await self._cluster.delete_job(vanished.namespace, job.name, job.uid)
                metrics.API_WRITES.labels("delete").inc()
            return True
        pods = [parse_pod(pod) for pod in await self._cluster.list_pods(vanished.namespace, vanished.run_id)]
        for pod in pods:
            if not pod.is_terminal and not pod.deleting:
                await self._cluster.delete_pod(vanished.namespace, pod.name, pod.uid)
        return any(not pod.is_terminal for pod in pods)

    async def _finish(self, vanished: Vanished) -> None:
        message = "Cancelled: the PipelineRun was deleted"
        await self._records.finish(
            vanished.run_id, phase=Phase.CANCELLED, at=self._now(), error_message=message, message=message
        )
        metrics.RUNS_FINISHED.labels(Phase.CANCELLED.value, Reason.CANCELLED.value).inc()
        _log.info("run ended", run_id=vanished.run_id, phase=Phase.CANCELLED.value, message=message)
