"""Reconciles one run: gather what is known, decide, carry it out, until nothing is left to do now."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from pipeline_core.lifecycle import actions
from pipeline_core.lifecycle.decide import decide
from pipeline_core.lifecycle.observed import Observed, Run
from pipeline_core.store.quota.ledger import QuotaLedger
from pipeline_core.store.records import RunRecords
from pipeline_core.store.runs import StoredRun
from pipeline_operator.cache import Cache
from pipeline_operator.cluster import Cluster
from pipeline_operator.ending import Ending
from pipeline_operator.entry import Entry, Words
from pipeline_operator.events import Events
from pipeline_operator.reading import read_bodies
from pipeline_operator.reporting import Reporting
from pipeline_operator.settling import Settling
from pipeline_operator.starting import Starting
from pipeline_operator.waiting_room import WaitingRoom
from pipeline_operator.writer import ConflictError

_log = structlog.get_logger(__name__)

# Start, report, and one look at live objects: more steps than this in one pass would be a loop.
_STEPS_MAX = 6
# Kubernetes repeats a warning that still holds; one look in this time is enough.
_WORDS_KEPT = timedelta(seconds=60)


class Reconciler:
    """One pass at a time for a run; the work queue sees to that. `now` is the wall clock in UTC."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        records: RunRecords,
        ledger: QuotaLedger,
        room: WaitingRoom,
        starting: Starting,
        reporting: Reporting,
        ending: Ending,
        settling: Settling,
        events: Events,
        now: Callable[[], datetime],
        deadlines: actions.Deadlines,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._records = records
        self._ledger = ledger
        self._room = room
        self._starting = starting
        self._reporting = reporting
        self._ending = ending
        self._settling = settling
        self._events = events
        self._now = now
        self._deadlines = deadlines

    async def reconcile(self, uid: str) -> float | None:
        """Bring the run of this UID forward; returns in how many seconds to look again, None to wait for news."""
        again = await self._bring_forward(uid)
        self._cache.get(uid).seen_to = True
        return again

    async def _bring_forward(self, uid: str) -> float | None:
        live = False
        for _ in range(_STEPS_MAX):
            entry = self._cache.get(uid)
            run = entry.run
            if run is None:
                self._reporting.forget(uid)
                self._room.leave(uid)
                return await self._settling.settle(uid)
            structlog.contextvars.bind_contextvars(
                run_id=run.run_id, org=run.spec.org, **run.traced
            )  # in this pass's lines
            if run.is_over:
                self._room.leave(uid)
            decision = decide(_observed(run, entry), self._now(), self._deadlines)
            if not live and (decision.needs_live or entry.doubted) and not _is_over(run, decision):
                await self._look(run)
                live = True
                continue
            if decision.explain is not None and await self._explain(run, entry, decision.explain):
                continue
            if decision.action is None:
                self._cache.shrink(uid)
                return self._delay(decision)
            try:
                again = await self._apply(run, entry, decision.action)
            except ConflictError:
                await self._look(run)
                continue
            if again is not None:
                return again
            if isinstance(decision.action, actions.Report | actions.Expire):
                return self._delay(decision)
        _log.warning("run needs another pass", uid=uid)
        return 1.0

    def _delay(self, decision: actions.Decision) -> float | None:
        if decision.look_again_at is None:
            return None
        return max(0.0, (decision.look_again_at - self._now()).total_seconds())

    async def _apply(self, run: Run, entry: Entry, action: actions.Action) -> float | None:
        if not isinstance(action, actions.Start):
            self._room.leave(run.uid)  # it has begun, or is about to end
        match action:
            case actions.Start():
                return await self._starting.start(run)
            case actions.Report():
                return await self._reporting.report(run, entry, action)
            case actions.StopJob():
                await self._stop(run, entry, action)
            case actions.StopPods():
                await self._stop_pods(run, entry)
            case actions.Finish():
                await self._ending.finish(run, action, frees=_observed(run, entry).is_at_rest)
                self._reporting.forget(run.uid)
            case actions.Release():
                await self._release(run, entry)
            case actions.Expire():
                await self._cluster.delete_run(run.namespace, run.name, run.uid)
        return None

    async def _stop(self, run: Run, entry: Entry, action: actions.StopJob) -> None:
        if entry.job is None:
            return
        job = entry.job
        await self._cluster.delete_job(run.namespace, job.name, job.uid)
        if entry.job is not None:
            # Until the watch shows the same, or news in between would delete it once more.
            entry.job = replace(entry.job, deleting=True)
        _log.info("job deleted", run_id=run.run_id, job=job.name, message=action.message)
        self._events.tell(run, "Stopping", f"Deleted Job {job.name}: {action.message}")

    async def _release(self, run: Run, entry: Entry) -> None:
        await self._ledger.release(run.run_id, object_uid=run.uid)
        # crash here: the next process finds a slot that is held no more, and nothing to do.
        entry.holds_slot = False
        self._room.slot_freed()

    async def _stop_pods(self, run: Run, entry: Entry) -> None:
        for pod in list(entry.pods.values()):
            if not pod.is_terminal and not pod.deleting:
                await self._cluster.delete_pod(run.namespace, pod.name, pod.uid)
                entry.pods[pod.uid] = replace(pod, deleting=True)  # as with the Job
                _log.info("pod deleted, as its Job is gone", run_id=run.run_id, pod=pod.name)

    async def _explain(self, run: Run, entry: Entry, uid: str) -> bool:
        """Look up what Kubernetes has warned of about the run's Job or pod; returns whether that is news."""
        before = entry.words
        if before is not None and before.uid == uid and self._now() < before.at + _WORDS_KEPT:
            return False
        text = await self._events.newest_warning(run.namespace, uid)
        entry.words = Words(uid, text, self._now())
        return before is None or before.text != text

    async def _look(self, run: Run) -> None:
        """Read the run, its Job and its pods from the API server; the watch may be behind."""
        body = await self._cluster.get_run(run.namespace, run.name)
        if body is None or body["metadata"]["uid"] != run.uid:
            self._cache.drop_run(run.uid)
            return
        self._cache.put_run(body)
        job, pods, version = await read_bodies(self._cluster, run.namespace, run.run_id, run.uid)
        self._cache.replace(run.uid, job=job, pods=pods, version=version)
        if job is not None and not pods and _has_begun(await self._records.get(run.run_id)):
            # An earlier process saw a pod at work, and may have died before it could say so on the object.
            self._cache.get(run.uid).pods_lost = True


def _observed(run: Run, entry: Entry) -> Observed:
    words = entry.words.text if entry.words else None
    pods, went = tuple(entry.pods.values()), entry.pods_failed or entry.pods_lost
    return Observed(run, entry.job, pods, entry.progress, entry.published, words, went, entry.holds_slot)


def _has_begun(stored: StoredRun | None) -> bool:
    return stored is not None and (stored.started_at is not None or stored.attempts > 0)


def _is_over(run: Run, decision: actions.Decision) -> bool:
    """A finished run about which nothing is to be done needs no second look."""
    return decision.action is None and run.is_over
