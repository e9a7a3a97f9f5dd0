"""The oracle's own timetable: cronsim over local times, and a daylight-saving mapping that shares no code with ours.

A local time in a gap fires at the first instant after it; one that comes twice fires the first time.
"""

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

_MINUTE = timedelta(minutes=1)
_NAMES = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}


class Ticks:
    """The ticks of each expression and zone from `first` to `last`, in whole seconds since `beginning`."""

    def __init__(self, beginning: datetime, first: datetime, last: datetime) -> None:
        self._beginning = beginning
        self._first = first
        self._last = last
        self._known: dict[tuple[str, str], list[int]] = {}

    def of(self, cron: str, zone: str) -> list[int]:
        """All of them, ascending."""
        if (cron, zone) not in self._known:
            self._known[cron, zone] = self._all(cron, ZoneInfo(zone))
        return self._known[cron, zone]

    def between(self, cron: str, zone: str, after: float, until: float) -> list[int]:
        """Those in (after, until]."""
        ticks = self.of(cron, zone)
        return ticks[bisect_right(ticks, after) : bisect_right(ticks, until)]

    def next(self, cron: str, zone: str, after: float) -> int | None:
        """The first after `after`."""
        ticks = self.of(cron, zone)
        index = bisect_right(ticks, after)
        return ticks[index] if index < len(ticks) else None

    def has(self, cron: str, zone: str, tick: float) -> bool:
        """Whether it is one."""
        ticks = self.of(cron, zone)
        index = bisect_left(ticks, tick)
        return index < len(ticks) and ticks[index] == tick

    def of_range(self, cron: str, zone: str, first: str, last: str) -> list[int]:
        """Those of a backfill from `first` to `last`, days in the zone or times."""
        start = self._bound(first, zone) - 1
        end = self._bound(last, zone, days=1) - 1 if len(last) == 10 else self._bound(last, zone)
        return self.between(cron, zone, start, end)

    def _bound(self, text: str, zone: str, days: int = 0) -> float:
        if len(text) == 10:
            midnight = datetime.combine(date.fromisoformat(text) + timedelta(days=days), time())
            moment = _in_zone(midnight, ZoneInfo(zone))
        else:
            moment = datetime.fromisoformat(text)
        return (moment - self._beginning).total_seconds()

    def _all(self, cron: str, zone: ZoneInfo) -> list[int]:
        found: list[int] = []
        local = self._first.astimezone(zone).replace(tzinfo=None)
        for naive in CronSim(_NAMES.get(cron, cron), local):
            moment = _in_zone(naive, zone)
            if moment > self._last:
                return found
            seconds = int((moment - self._beginning).total_seconds())
            if not found or seconds > found[-1]:
                found.append(seconds)
        return found


def _in_zone(naive: datetime, zone: ZoneInfo) -> datetime:
    """When a clock on the wall there shows this time first, or, where it never does, a later one first."""
    moment = naive.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == naive:
        return moment
    # In a gap. Before it clocks show less than `naive`, after it more: look for the minute between.
    before, after = moment - timedelta(hours=26), moment + timedelta(hours=26)
    while after - before > _MINUTE:
        middle = before + (after - before) // 2 // _MINUTE * _MINUTE
        if middle.astimezone(zone).replace(tzinfo=None) < naive:
            before = middle
        else:
            after = middle
    return after
