"""The ticks of a cron expression in a time zone: the next ones, the newest ones, how many.

croniter searches local times, as if no clock were ever changed; which instant a local time is, is said here:

- A local time that is skipped (clocks go forward) is the first instant after the gap, and several are that one tick.
- A local time that comes twice (clocks go back) is the first of both.

So every local time that the expression names is exactly one tick or shares it, and an expression such as `*/5 * * * *`
rests while clocks repeat an hour. That is the same for all expressions; vixie cron goes by elapsed time instead where
minute or hour begin with `*`. In Etc/UTC no clock is ever changed.
"""

import copy
import functools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from pipeline_core.schedules.cron import check_cron_expression, check_time_zone

# There are no ticks before and after: a search for one may go on for 50 years, and the calendar ends.
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9900, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_NONE = timedelta()


class Timetable:
    """When an expression fires in a zone. Instants are aware and in UTC, whole minutes. Safe to share by threads.

    Raises ValueError, which says what is expected, for what isn't an expression, or a zone.
    """

    __slots__ = ("_cron", "_zone")

    def __init__(self, expression: str, time_zone: str) -> None:
        self._cron = _parsed(expression)
        self._zone = _zone(time_zone)

    def next(self, after: datetime) -> datetime | None:
        """The first tick after that instant. None: never again."""
        after = max(after, _FIRST)
        if after >= _LAST:
            return None
        wall, overlap_end = self._wall(after)
        # In the second pass of an overlap all its local times are over.
        found = self._search(overlap_end - _SECOND if overlap_end else wall, forward=True)
        return found and self._instant(found)

    def upcoming(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """The first `limit` ticks in (after, until], ascending."""
        return list(islice(self._ascending(after, until), limit))

    def last(self, after: datetime, until: datetime, limit: int) -> list[datetime]:
        """The newest `limit` ticks in (after, until], ascending. Its cost hangs on the limit, not on the time."""
        return list(islice(self._descending(after, until), limit))[::-1]

    def count(self, after: datetime, until: datetime, at_most: int) -> int:
        """How many ticks there are in (after, until], or `at_most` if there are more."""
        return sum(1 for _ in islice(self._ascending(after, until), at_most))

    def _ascending(self, after: datetime, until: datetime) -> Iterator[datetime]:
        tick = self.next(after)
        while tick is not None and tick <= until:
            yield tick
            tick = self.next(tick)

    def _descending(self, after: datetime, until: datetime) -> Iterator[datetime]:
        after = max(after, _FIRST)
        tick = self._newest(min(until, _LAST)) if until > after else None
        while tick is not None and tick > after:
            yield tick
            tick = self._newest(tick - _SECOND)

    def _newest(self, until: datetime) -> datetime | None:
        """The last tick at that instant or before."""
        wall, overlap_end = self._wall(until)
        found = self._search(overlap_end or wall + _SECOND, forward=False)
        return found and self._instant(found)

    def _search(self, wall: datetime, *, forward: bool) -> datetime | None:
        """The local time of the expression next to that one, which isn't meant itself."""
        cron = copy.copy(self._cron)  # it keeps where it stands
        try:
            found: datetime = cron.get_next(datetime, wall) if forward else cron.get_prev(datetime, wall)
        except CroniterBadDateError:
            return None
        return found

    def _wall(self, instant: datetime) -> tuple[datetime, datetime | None]:
        """What clocks show at that instant; and, where they have shown it before, when what they repeat ends."""
        local = instant.astimezone(self._zone)
        wall = local.replace(tzinfo=None, fold=0, microsecond=0)
        if not local.fold:
            return wall, None
        first = local.replace(fold=0)
        change = self._change(first, local)
        return wall, change + _offset(first)

    def _instant(self, wall: datetime) -> datetime:
        local = wall.replace(tzinfo=self._zone)
        other = local.replace(fold=1)
        # In a gap the former reads the offset before it, which is the smaller one; see PEP 495.
        if _offset(local) < _offset(other):
            return self._change(other, local).replace(tzinfo=UTC)
        return local.astimezone(UTC)

    def _change(self, before: datetime, after: datetime) -> datetime:
        """When, in (before, after], the offset changed: in UTC, naive. One change of it is in there."""
        low, high = int(before.timestamp()), int(after.timestamp())
        changed = _offset(datetime.fromtimestamp(high, self._zone))
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(datetime.fromtimestamp(middle, self._zone)) == changed:
                high = middle
            else:
                low = middle
        return datetime.fromtimestamp(high, UTC).replace(tzinfo=None)


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or _NONE


@functools.lru_cache(maxsize=1024)
def _parsed(expression: str) -> croniter:
    return croniter(check_cron_expression(expression), _FIRST.replace(tzinfo=None))


@functools.cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(check_time_zone(name))
