"""Decides which days a run reads whose caller named none: its own, and of those before them what a pause left out."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, timedelta

from pipeline_runner.bigquery.window import Window

# How many missed days one run catches up: a run that ends by its time limit would be tried again with the same.
MOST_AT_ONCE = 14


@dataclass(frozen=True)
class DueDays:
    """What a run reads: `windows`, in order, the last of which has the run's own days.

    Of the days before those, `missed` were never published, and `again` were, but corrections of them that later runs
    would have brought fell into a pause. `left` were missed too, and are for the next runs.
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
            (self.again, "{} are read again, as corrections of them fell into a pause"),
        ]
        return " and ".join(told.format(ranges(days)) for days, told in parts if days)

    def __str__(self) -> str:
        return ", ".join(map(str, self.windows))


def due_days(
    own: Window, published: Collection[date], *, catch_up_days: int, rescan_days: int, at_once: int = MOST_AT_ONCE
) -> DueDays:
    """The days to read, no further back than `catch_up_days` days, the last of them included.

    A day is read by the run of its date and by those of the `rescan_days - 1` days after it. So each day that no run
    has published, its own ones as well, brings the `rescan_days - 1` days before it along: their last reading would
    have been that day's. `published` are all days that were published; where nothing before a day is, it wasn't
    missed. Of many missed days the newest `at_once` come first.
    """
    earliest = max(own.back_to(catch_up_days).first, min(published, default=own.first))
    lacking = [day for day in Window(min(earliest, own.first), own.last).days() if day not in published]
    missed = [day for day in lacking if day < own.first]
    taken = set(missed[-at_once:])
    corrected = {
        day - timedelta(days=number)
        for day in (*taken, *(day for day in lacking if day >= own.first))
        for number in range(1, rescan_days)
    }
    # A missed day that isn't taken waits, though it be near one that is: it has days to bring along itself.
    again = sorted(day for day in corrected if earliest <= day < own.first and day in published)
    return DueDays(
        windows=Window.ranges((*taken, *again, *own.days())),
        missed=tuple(sorted(taken)),
        again=tuple(again),
        left=tuple(day for day in missed if day not in taken),
    )


def ranges(days: Iterable[date]) -> str:
    """Days as people write them: 2026-11-01..2026-11-03, 2026-11-05."""
    return ", ".join(map(str, Window.ranges(days)))
