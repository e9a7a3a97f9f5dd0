"""Reconciles one schedule: gather what is known, decide, carry it out.

Runs are made first and the status is written after them, so that whatever happens in between, the next pass finds the
runs by their names and comes to the same status.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.decision import Decision, Missed, Prune
from pipeline_core.schedules.observed import ConcurrencyPolicy, Schedule
from pipeline_operator.cluster import Cluster
from pipeline_operator.reading import read_schedule
from pipeline_operator.schedules.attempt import Attempt
from pipeline_operator.schedules.cache import ScheduleCache, ScheduleEntry
from pipeline_operator.schedules.deciding import Deciding
from pipeline_operator.schedules.due import next_due
from pipeline_operator.schedules.making import Making
from pipeline_operator.schedules.mirror import Mirror
from pipeline_operator.schedules.runs import ScheduledRuns
from pipeline_operator.schedules.telling import Telling
from pipeline_operator.schedules.ticker import Ticker
from pipeline_operator.schedules.writer import ScheduleWriter
from pipeline_operator.writer import ConflictError

_log = structlog.get_logger(__name__)

# Runs, those that are left out, the status, a conflict and another one: more would be a quarrel with somebody.
_PASSES_MAX = 8
# Runs that can't be made that are remembered: as many as a decision asks about.
_REFUSED_KEPT = 200
# A decision that asks to be taken again at once would keep a worker busy; one that wants to look up much goes on then.
_SOONEST = timedelta(seconds=1)
# How long a new process sees to a schedule's runs before it decides about the schedule, where a run forbids others.
_PATIENCE = timedelta(seconds=30)
_LOOK_SECONDS = 0.2
# Where one run can't be made, the next one after it had better not follow at once.
_WITHOUT_RUN_SECONDS = 1.0
# For so long a status waits while ticks of other schedules do.
_UNWRITTEN = timedelta(seconds=2)


class ScheduleReconciler:
    """One pass at a time for a schedule; the work queue sees to that.

    `presses` says whether ticks of other schedules wait for their runs: then a status waits. `now` is the wall clock in
    UTC.
    """

    def __init__(
        self,
        cluster: Cluster,
        cache: ScheduleCache,
        runs: ScheduledRuns,
        deciding: Deciding,
        making: Making,
        writer: ScheduleWriter,
        ticker: Ticker,
        mirror: Mirror,
        telling: Telling,
        presses: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._runs = runs
        self._deciding = deciding
        self._making = making
        self._writer = writer
        self._ticker = ticker
        self._mirror = mirror
        self._telling = telling
        self._presses = presses
        self._now = now

    async def reconcile(self, uid: str) -> float | None:
        """Bring the schedule of this UID forward; returns in how many seconds to look again, None to wait for news.

        Raises KubeError, KubeUnavailableError or StoreUnavailableError where it has to be tried again; all that could
        be done is done then, and the next tick comes in time.
        """
        began = self._now()
        try:
            return await self._reconcile(uid)
        except Exception:
            entry = self._cache.get(uid)
            if entry is not None and not self._ticker.expects(uid):
                # Also one that has come due meanwhile, for which the queue's backoff is too long.
                self._ticker.set(uid, next_due(entry.schedule, began))
            raise

    async def _reconcile(self, uid: str) -> float | None:
        attempt = Attempt()
        for _ in range(_PASSES_MAX):
            entry = self._cache.get(uid)
            if entry is None or entry.schedule.deleting:
                self._ticker.set(uid, None)
                return None
            if self._must_wait(entry):
                return _LOOK_SECONDS
            decided = await self._deciding.decide(entry, attempt)
            if decided is None:
                return _SOONEST.total_seconds()
            schedule, decision = decided
            self._look_again_at(uid, decision.look_again_at)  # first, as what follows may take its time
            room = attempt.room
            not_made = await self._make(entry, decision, attempt)
            if attempt.may_cancel(decision):
                await self._cancel(entry, decision, attempt)
            # crash here: the runs are there, and the next process comes to the same status.
            if entry.schedule is not schedule and not not_made:
                continue  # it was edited meanwhile, or another process has written its status
            entry.is_new = False
            entry.decided = attempt.status(entry.current.status, decision, not_made)
            self._telling.missed(entry, [*decision.missed, *not_made])
            self._mirror.changed(uid)
            if attempt.room is not room:
                continue  # what was decided of the past is to be decided without the run
            if self._must_not_write(entry):
                if attempt.failure is not None:
                    break
                return 0.0  # behind all whose ticks are due
            if not not_made and any(make.run_id not in attempt.unmade for make in decision.makes):
                continue  # the status is of the runs as they were made
            try:
                await self._writer.write(entry)
            except ConflictError:
                await self._look(entry.schedule)
                continue
            entry.unwritten_since = None
            await self._prune(entry, decision.prunes)
            if attempt.failure is not None:
                break
            return _WITHOUT_RUN_SECONDS if not_made else None
        if attempt.failure is not None:
            if entry is not None:
                self._telling.failed(entry, attempt.failure)
            raise attempt.failure.error
        _log.warning("schedule needs another pass", uid=uid)
        return 1.0

    def _must_wait(self, entry: ScheduleEntry) -> bool:
        """Whether a run that seems to go on may have ended while no operator was there, and would forbid a tick."""
        forbids = entry.schedule.spec.concurrency_policy is ConcurrencyPolicy.FORBID
        if not entry.is_new or not forbids or self._runs.are_seen_to(entry.schedule):
            return False
        entry.waits_since = entry.waits_since or self._now()
        return entry.waits_since <= self._now() < entry.waits_since + _PATIENCE

    def _must_not_write(self, entry: ScheduleEntry) -> bool:
        """Whether a status that is to be written waits for the ticks of others, for a while."""
        if not self._presses() or self._writer.difference(entry) is None:
            return False
        now = self._now()
        if entry.unwritten_since is None or entry.unwritten_since > now:
            entry.unwritten_since = now
        return now < entry.unwritten_since + _UNWRITTEN

    async def _make(self, entry: ScheduleEntry, decision: Decision, attempt: Attempt) -> list[Missed]:
        """Make the runs, as far as they can be made now; returns those that can't be made, ever."""
        not_made: list[Missed] = []
        for make in attempt.left(decision.makes):
            try:
                missed = await self._making.make(entry.schedule, make)
            except (KubeError, KubeUnavailableError) as error:
                attempt.failed_to_make(make, error, self._now())
                continue
            if missed is not None:
                entry.refused[make.run_id] = Phase.FAILED
                if len(entry.refused) > _REFUSED_KEPT:
                    del entry.refused[next(iter(entry.refused))]
                not_made.append(missed)
        return not_made

    async def _cancel(self, entry: ScheduleEntry, decision: Decision, attempt: Attempt) -> None:
        for cancel in decision.cancels:
            try:
                await self._cluster.cancel_run(entry.schedule.namespace, cancel.name, cancel.uid)
            except (KubeError, KubeUnavailableError) as error:
                attempt.failed_to_cancel(cancel.name, error)
                return

    def _look_again_at(self, uid: str, at: datetime | None) -> None:
        now = self._now()
        self._ticker.set(uid, at if at is None or at > now else now + _SOONEST)

    async def _look(self, schedule: Schedule) -> None:
        """Read the schedule from the API server; the watch may be behind."""
        body = await read_schedule(self._cluster, schedule.namespace, schedule.name)
        if body is None or body["metadata"]["uid"] != schedule.uid:
            self._cache.drop(schedule.uid)
            self._mirror.changed(schedule.uid)
        else:
            self._cache.put(body)

    async def _prune(self, entry: ScheduleEntry, prunes: Sequence[Prune]) -> None:
        """Delete what the watch hasn't shown to be deleted yet."""
        schedule = entry.schedule
        for each in prunes:
            if each.uid not in entry.pruned:
                await self._cluster.delete_run(schedule.namespace, each.name, each.uid)
        entry.pruned = {each.uid for each in prunes}
