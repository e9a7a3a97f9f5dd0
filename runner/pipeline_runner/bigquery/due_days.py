"""Decides which days a run reads whose caller named none: its own, and of those before them what a pause left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from pipeline_runner.bigquery.window import Window, listed, listed_days

# How many days before its own one run reads: a run that ends by its time limit would be tried again with the same.
MOST_AT_ONCE = 14


LastRead = Mapping[date, datetime | None]
"""When each day that was published was read last; None where that isn't known any more, and counts as late enough."""


@dataclass(frozen=True)
class DueDays:
    """What a run reads: `windows`, in order, the last of which has the run's own days.

    Of the days before those, `missed` were never published, and `again` were, but read before all their corrections
    could have come. `left` are both kinds, for the next runs.
    """

    windows: tuple[Window, ...]
    missed: tuple[date, ...] = ()
    again: tuple[date, ...] = ()
    left: tuple[date, ...] = ()

    @property
    def hull(self) -> Window:
        """From the first day to the last."""
        return Window(self.windows[0].first, self.windows[-1].last)

    @property
    def reason(self) -> str:
        """Why there are days before the run's own; empty where there are none."""
        parts = [
            (self.missed, "{} had been missed and are caught up"),
            (self.again, "{} are read again, as they were last read before their corrections had come"),
        ]
        return " and ".join(told.format(listed_days(days)) for days, told in parts if days)

    def __str__(self) -> str:
        return listed(self.windows)


def due_days(
    own: Window, last_read: LastRead, *, catch_up_days: int, rescan_days: int, at_once: int = MOST_AT_ONCE
) -> DueDays:
    """The days to read, no further back than `catch_up_days` days, the last of them included.

    Beside the run's own: those that no run has published, and those that were read last before they were settled. Where
    nothing before a day was published, it wasn't missed. Of many the newest `at_once` come first; whatever else
    happens meanwhile, the next runs find the rest, since each day's last reading tells what it lacks.
    """
    earliest = max(own.back_to(catch_up_days).first, min(last_read, default=own.first))
    before = [day for day in Window(min(earliest, own.first), own.last).days() if day < own.first]
    due = [day for day in before if day not in last_read or not is_settled(day, last_read[day], rescan_days)]
    # Each run brings as many days that aren't settled yet as it covers: with fewer at once they would never be done.
    most = max(at_once, rescan_days)
    taken, left = due[-most:], due[:-most]
    return DueDays(
        windows=Window.ranges((*taken, *own.days())),
        missed=tuple(day for day in taken if day not in last_read),
        again=tuple(day for day in taken if day in last_read),
        left=tuple(left),
    )


def is_settled(day: date, read_at: datetime | None, rescan_days: int) -> bool:
    """Whether a reading of a day was late enough to be its last.

    A schedule reads yesterday and the `rescan_days - 1` days before it, so a day for the last time when it is
    `rescan_days` days past. What was read before is of a pause, of a run by hand, or of a day that wasn't over.
    """
    return read_at is None or read_at >= datetime.combine(day, time(), UTC) + timedelta(days=rescan_days)
