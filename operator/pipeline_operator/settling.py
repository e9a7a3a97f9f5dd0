"""Settles a run whose object is gone: its Job and pods first, then its record, as cancelled.

Unless it may have published while nobody looked: then its target is asked, by the exporter, which has BigQuery.
There is no finalizer, so a run can always be deleted; what is left of it is found by the DELETED event or by the sweep.
"""

from collections.abc import Callable, Collection
from datetime import datetime

import structlog

from pipeline_core.kube.api import Json, KubeError
from pipeline_core.lifecycle.observed import Job, Pod, Published, is_at_rest
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_operator import metrics
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.entry import Entry, Vanished
from pipeline_operator.final_records import end_of_deleted, end_record
from pipeline_operator.reading import read_job_and_pods, read_run

_log = structlog.get_logger(__name__)

# Pods take a moment to go after their Job; those of a lost node, for ever.
_RECHECK_SECONDS = 1.0
_RECHECK_SLOWLY = 5.0
# The watches begin at different times; a run whose Job is seen first is seen within this, but for a lost event.
_AWAIT_SECONDS = 10.0
_UNDECIDED = "The PipelineRun was deleted; whether it had published before is being looked up in its target"


class Settling:
    """`now` is the wall clock in UTC."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        records: RunRecords,
        ledger: QuotaLedger,
        now: Callable[[], datetime],
        slot_freed: Callable[[], None],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._records = records
        self._ledger = ledger
        self._now = now
        self._slot_freed = slot_freed

    async def settle(self, uid: str) -> float | None:
        """End the record of the vanished run, once nothing of it runs; returns when to look again."""
        vanished = self._cache.get(uid).vanished
        if vanished is None:
            return await self._without_run(uid)
        body, job, pods = await self._read(vanished)
        if body is not None and body["metadata"]["uid"] == uid:
            self._cache.put_run(body)  # not gone at all: the list was older than the object
            return 0.0
        record = await self._records.get(vanished.run_id)
        entry = self._cache.get(uid)
        if record is None or record.phase.is_final or record.object_uid != uid or record.undecided_since is not None:
            # Not if the record is another run's that has the same id: so is the slot.
            holds = entry.holds_slot and (record is None or record.object_uid == uid)
            if holds and (again := await self._clear(vanished, job, pods)) is not None:
                return again
            self._cache.forget(uid)
            return None
        seen = {pod.uid: pod for pod in (*entry.pods.values(), *pods)}
        succeeded = next((pod for pod in seen.values() if pod.phase == "Succeeded"), None)
        done = succeeded is not None or entry.published is not None or (job is not None and job.complete)
        if not done and record.started_at is None:
            await self._record_start(vanished, seen.values())
        if not done and (again := await self._stop(vanished.namespace, job, pods)) is not None:
            return again
        # crash here: the sweep finds the record again.
        if done or record.job_name is None or _have_failed(entry, seen.values()):
            frees = is_at_rest(job, pods)
            await self._finish(vanished, succeeded, entry.published, done=done, frees=frees)
            if not frees:
                self._cache.hold_slot(uid)
                return _RECHECK_SECONDS
            self._slot_freed()
        else:
            # The runner was stopped, or came and went unseen: it may have published before.
            await self._records.leave_undecided(
                vanished.run_id, at=self._now(), message=_UNDECIDED, object_uid=vanished.uid, frees=True
            )
            self._slot_freed()
            _log.info("run left to the exporter to settle", run_id=vanished.run_id, org=record.org_slug)
        self._cache.forget(uid)
        return None

    async def _without_run(self, uid: str) -> float | None:
        """A Job or pod was seen before its run, or after its end.

        A run may have been given up by a process that ended before it could delete the Job: one that goes on isn't
        forgotten before its run is known, and so is deleted with the next decision about the run.
        """
        entry = self._cache.get(uid)
        job = entry.job
        if job is None or not job.goes_on or job.owner is None:
            self._cache.forget(uid)
            return None
        if not entry.awaited:
            entry.awaited = True
            return _AWAIT_SECONDS
        body = await read_run(self._cluster, *job.owner)
        if body is None or body["metadata"]["uid"] != uid:
            self._cache.forget(uid)  # the garbage collector's, with or without a record: that one the sweep finds
            return None
        self._cache.put_run(body)
        return 0.0

    async def _read(self, vanished: Vanished) -> tuple[Json | None, Job | None, list[Pod]]:
        """The object of that name, the Job and the pods; nothing where their namespace is gone."""
        namespace = vanished.namespace
        try:
            body = await self._cluster.get_run(namespace, vanished.name)
            return body, *await read_job_and_pods(self._cluster, namespace, vanished.run_id, vanished.uid)
        except KubeError as error:
            if not await self._cluster.went_with_namespace(namespace, error):
                raise
            return None, None, []

    async def _clear(self, vanished: Vanished, job: Job | None, pods: list[Pod]) -> float | None:
        """Give the slot back of a run whose record is final, once nothing of it runs; returns when to look again."""
        if not is_at_rest(job, pods) and (again := await self._stop(vanished.namespace, job, pods)) is not None:
            return again
        await self._ledger.release(vanished.run_id, object_uid=vanished.uid)
        self._slot_freed()
        return None

    async def _record_start(self, vanished: Vanished, seen: Collection[Pod]) -> None:
        """Record that a container has started, before the pods that show it go: the run has used up its unit."""
        starts = [pod.started_at for pod in seen if pod.started_at]
        if starts:
            await self._records.advance(
                vanished.run_id, phase=Phase.RUNNING, at=self._now(), started_at=min(starts), object_uid=vanished.uid
            )

    async def _stop(self, namespace: str, job: Job | None, pods: list[Pod]) -> float | None:
        """Delete what is left of the run; returns when to look again, None where nothing is."""
        if job is None and all(pod.is_terminal for pod in pods):
            return None
        if job is not None and not job.deleting:
            # `--cascade=orphan`, or the garbage collector hasn't come to it yet.
            await self._cluster.delete_job(namespace, job.name, job.uid)
        for pod in pods:
            if job is None and not pod.is_terminal and not pod.deleting:
                await self._cluster.delete_pod(namespace, pod.name, pod.uid)
        return _RECHECK_SLOWLY if pods and all(pod.deleting for pod in pods) else _RECHECK_SECONDS

    async def _finish(
        self, vanished: Vanished, succeeded: Pod | None, published: Published | None, *, done: bool, frees: bool
    ) -> None:
        """As cancelled; as completed where the runner had succeeded, for then the rows stand in the target."""
        if succeeded is None and published is not None:
            finish = end_of_deleted(
                completed=True,
                records=published.records,
                started_at=published.began_at,
                completed_at=published.at,
            )
        else:
            finish = end_of_deleted(
                completed=done,
                records=succeeded.outcome.records_processed if succeeded and succeeded.outcome else None,
                started_at=succeeded.started_at if succeeded else None,
                completed_at=succeeded.finished_at if succeeded else None,
            )
        stored = await end_record(self._records, vanished.run_id, vanished.uid, finish, self._now(), frees=frees)
        metrics.run_ended(stored, self._now())
        _log.info(
            "run ended",
            run_id=vanished.run_id,
            org=stored.org_slug,
            phase=finish.phase.value,
            reason=finish.reason.value,
            message=finish.message,
        )


def _have_failed(entry: Entry, seen: Collection[Pod]) -> bool:
    """Whether every pod of the run has said itself that it failed; no pod at all says nothing."""
    return (bool(seen) or entry.pods_failed) and not entry.pods_lost and all(pod.says_it_failed for pod in seen)
