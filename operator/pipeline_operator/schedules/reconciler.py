"""Reconciles one schedule: gather what is known, decide, carry it out.

Runs are made first and the status is written after them, so that whatever happens in between, the next pass finds the
runs by their names and comes to the same status.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from pipeline_core.lifecycle.phases import Phase
from pipeline_core.schedules.decide import decide
from pipeline_core.schedules.decision import Decision, Missed, Needs, Prune
from pipeline_core.schedules.observed import ConcurrencyPolicy, LastMissed, Schedule, ScheduleStatus
from pipeline_operator import metrics
from pipeline_operator.cluster import Cluster
from pipeline_operator.events import Events
from pipeline_operator.reading import read_schedule
from pipeline_operator.schedules.cache import ScheduleCache, ScheduleEntry, Told
from pipeline_operator.schedules.lookup import Lookup
from pipeline_operator.schedules.making import Making
from pipeline_operator.schedules.mirror import Mirror
from pipeline_operator.schedules.runs import ScheduledRuns
from pipeline_operator.schedules.ticker import Ticker
from pipeline_operator.schedules.writer import ScheduleWriter
from pipeline_operator.writer import ConflictError

_log = structlog.get_logger(__name__)

# Runs, the status, a conflict and another one: more in one pass would be a quarrel with somebody.
_PASSES_MAX = 6
# Each kind of thing that a decision needs may be asked for in its turn.
_LOOKUPS_MAX = 8
_OF_A_TICK = Needs(organization=True)
# Runs that can't be made that are remembered: as many as a decision asks about.
_REFUSED_KEPT = 200
# What is missed for one reason, tick after tick, is told of so often.
_TELL_AGAIN = timedelta(hours=1)
# A decision that asks to be taken again at once would keep a worker busy.
_SOONEST = timedelta(seconds=1)
# How long a new process sees to a schedule's runs before it decides about the schedule, where a run forbids others.
_PATIENCE = timedelta(seconds=30)
_LOOK_SECONDS = 0.2
# Where one run can't be made, the next one after it had better not follow at once.
_WITHOUT_RUN_SECONDS = 1.0


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
        lookup: Lookup,
        making: Making,
        writer: ScheduleWriter,
        ticker: Ticker,
        mirror: Mirror,
        events: Events,
        presses: Callable[[], bool],
        now: Callable[[], datetime],
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._runs = runs
        self._lookup = lookup
        self._making = making
        self._writer = writer
        self._ticker = ticker
        self._mirror = mirror
        self._events = events
        self._presses = presses
        self._now = now

    async def reconcile(self, uid: str) -> float | None:
        """Bring the schedule of this UID forward; returns in how many seconds to look again, None to wait for news."""
        for _ in range(_PASSES_MAX):
            entry = self._cache.get(uid)
            if entry is None or entry.schedule.deleting:
                self._ticker.set(uid, None)
                return None
            if self._must_wait(entry):
                return _LOOK_SECONDS
            schedule, decision = await self._decide(entry)
            not_made = await self._make(entry, decision)
            for cancel in decision.cancels:
                await self._cluster.cancel_run(entry.schedule.namespace, cancel.name, cancel.uid)
            # crash here: the runs are there, and the next process comes to the same status.
            if entry.schedule is not schedule and not not_made:
                continue  # it was edited meanwhile, or another process has written its status
            entry.is_new = False
            entry.decided = _without(entry.current.status, decision, not_made)
            self._tell(entry, [*decision.missed, *not_made])
            self._mirror.changed(uid)
            self._look_again_at(uid, decision.look_again_at)
            if self._presses() and self._writer.difference(entry) is not None:
                return 0.0  # behind all whose ticks are due
            if decision.makes and not not_made:
                continue  # the status is of the runs as they were made
            try:
                await self._writer.write(entry)
            except ConflictError:
                await self._look(entry.schedule)
                continue
            await self._prune(entry, decision.prunes)
            return _WITHOUT_RUN_SECONDS if not_made else None
        _log.warning("schedule needs another pass", uid=uid)
        return 1.0

    def _must_wait(self, entry: ScheduleEntry) -> bool:
        """Whether a run that seems to go on may have ended while no operator was there, and would forbid a tick."""
        forbids = entry.schedule.spec.concurrency_policy is ConcurrencyPolicy.FORBID
        if not entry.is_new or not forbids or self._runs.are_seen_to(entry.schedule):
            return False
        entry.waits_since = entry.waits_since or self._now()
        return entry.waits_since <= self._now() < entry.waits_since + _PATIENCE

    async def _decide(self, entry: ScheduleEntry) -> tuple[Schedule, Decision]:
        """What to do, and about which version of the object."""
        known = self._lookup.known(entry)
        next_run_at = entry.current.status.next_run_at
        if next_run_at is not None and next_run_at <= self._now():
            known = await self._lookup.also(entry, known, _OF_A_TICK)  # as it is going to be asked for
        for _ in range(_LOOKUPS_MAX):
            schedule = entry.schedule
            decision = decide(entry.current, self._runs.of(schedule), self._now(), known)
            if not decision.needs:
                return schedule, decision
            known = await self._lookup.also(entry, known, decision.needs)
        raise RuntimeError(f"more is needed to decide about {schedule.namespace}/{schedule.name}: {decision.needs}")

    async def _make(self, entry: ScheduleEntry, decision: Decision) -> list[Missed]:
        """Make the runs; returns those that can't be made, ever."""
        not_made: list[Missed] = []
        for make in decision.makes:
            missed = await self._making.make(entry.schedule, make)
            if missed is not None:
                entry.refused[make.run_id] = Phase.FAILED
                if len(entry.refused) > _REFUSED_KEPT:
                    del entry.refused[next(iter(entry.refused))]
                not_made.append(missed)
        return not_made

    def _tell(self, entry: ScheduleEntry, missed: Iterable[Missed]) -> None:
        schedule, now = entry.schedule, self._now()
        for each in missed:
            told = entry.told.get(each.reason)
            if told is not None and told.newest == each.newest:
                continue  # the same decision, taken again
            metrics.SCHEDULE_MISSED.labels(each.reason.value).inc(each.count)
            _log.warning(
                "ticks missed", schedule=schedule.name, org=schedule.spec.org, reason=each.reason.value,
                ticks=each.count, newest=each.newest.isoformat(), message=each.message,
            )  # fmt: skip
            at = told.at if told is not None and told.at <= now < told.at + _TELL_AGAIN else now
            entry.told[each.reason] = Told(each.newest, at)
            if at == now:
                self._events.tell_of_schedule(schedule, each.reason.value, each.message, each.newest)

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


def _without(before: ScheduleStatus, decision: Decision, not_made: Sequence[Missed]) -> ScheduleStatus:
    """The status that was decided on, where these of its runs can't be made."""
    status = decision.status
    if not not_made:
        return status
    newest = max(not_made, key=lambda each: each.newest)
    return replace(
        status,
        missed=status.missed + sum(each.count for each in not_made),
        last_missed=LastMissed(newest.newest, newest.reason, newest.message),
        last_run_at=before.last_run_at if len(not_made) == len(decision.makes) else status.last_run_at,
    )
