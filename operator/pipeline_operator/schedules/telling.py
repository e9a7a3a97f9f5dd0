"""Tells what became of a schedule's ticks where no run did: by metrics, the log, and Events on the schedule."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog

from pipeline_core.kube.api import KubeError
from pipeline_core.schedules.decision import Missed
from pipeline_operator import metrics
from pipeline_operator.events import Events
from pipeline_operator.schedules.attempt import Failure
from pipeline_operator.schedules.cache import ScheduleEntry, Told

_log = structlog.get_logger(__name__)

# What happens for one reason, again and again, is told of so often.
_TELL_AGAIN = timedelta(hours=1)
REFUSED_FOR_NOW = "RefusedForNow"


class Telling:
    """`now` is the wall clock in UTC."""

    def __init__(self, events: Events, now: Callable[[], datetime]) -> None:
        self._events = events
        self._now = now

    def missed(self, entry: ScheduleEntry, missed: Iterable[Missed]) -> None:
        """These ticks have no run, and won't."""
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

    def failed(self, entry: ScheduleEntry, failure: Failure) -> None:
        """The API server refuses something for now; the work's log tells of each new cause."""
        now = self._now()
        if not isinstance(failure.error, KubeError):
            return  # it gave no answer: that concerns all, and is over soon
        if entry.failed_at is not None and entry.failed_at <= now < entry.failed_at + _TELL_AGAIN:
            return
        entry.failed_at = now
        message = f"{failure.what}: {failure.error}"
        _log.warning("schedule held up", schedule=entry.schedule.name, org=entry.schedule.spec.org, message=message)
        self._events.tell_of_schedule(entry.schedule, REFUSED_FOR_NOW, message, now)
