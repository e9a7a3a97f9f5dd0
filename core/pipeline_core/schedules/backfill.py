"""Reads the range of a backfill: its bounds, how many runs it is, and a short name for it."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from pipeline_core.dates import FIRST_YEAR, LAST_YEAR, parse_date
from pipeline_core.schedules.observed import BackfillSpec
from pipeline_core.schedules.timetable import Timetable
from pipeline_core.wording import shorten

MAX_TICKS = 5_000
MAX_CONCURRENCY = 10

_DAY_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# RFC 3339, section 5.6.
_TIME_FORM = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_EXPECTED = "expected a day (2026-10-01) or a time with its offset (2026-10-01T06:00:00Z)"
# Ticks are whole minutes: a second before the next day begins none is left out.
_SECOND = timedelta(seconds=1)
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """What a backfill is: `total` ticks, from `first` to `last`, all in [start, end], and none after `now`.

    `left_out` ticks of the range are after `now`, counted up to 5,000: they are the schedule's own when they are due.
    """

    first: datetime | None
    last: datetime | None
    total: int
    left_out: int
    start: datetime
    end: datetime


def plan_backfill(spec: BackfillSpec, timetable: Timetable, time_zone: str, now: datetime) -> BackfillPlan:
    """Count the ticks of the range, both ends included.

    Raises ValueError, which begins with the field's name, if a bound can't be read, `to` is before `from`, or there are
    more than 5,000 ticks up to `now`.
    """
    total = count_backfill(spec, timetable, time_zone, now)
    start, end = bounds(spec, time_zone)
    after, until = start - _INSTANT, min(end, now)
    left_out = timetable.count(max(after, now), end, MAX_TICKS) if end > now else 0
    if not total:
        return BackfillPlan(None, None, 0, left_out, start, end)
    return BackfillPlan(timetable.next(after), timetable.last(after, until, 1)[0], total, left_out, start, end)


def count_backfill(spec: BackfillSpec, timetable: Timetable, time_zone: str, now: datetime) -> int:
    """How many ticks up to `now` are in the range. Raises ValueError as `plan_backfill` does."""
    start, end = bounds(spec, time_zone)
    total = count_ticks(timetable, start - _INSTANT, min(end, now))
    if total > MAX_TICKS:
        raise ValueError(
            f"to: {shorten(spec.last)}, expected at most {MAX_TICKS} ticks from {spec.first} on: take shorter ranges, "
            "one after the other"
        )
    return total


def count_ticks(timetable: Timetable, after: datetime, until: datetime) -> int:
    """How many ticks there are in (after, until]: of more than a backfill may have, one more than that."""
    newest = timetable.last(after, until, 1)
    # By its newest tick: where the range ends now, it is another instant each time that somebody asks.
    return _count(timetable, after, newest[0]) if newest else 0


@lru_cache(64)
def _count(timetable: Timetable, after: datetime, until: datetime) -> int:
    """A decision is asked for several times over, and thousands of ticks take a tenth of a second."""
    return timetable.count(after, until, MAX_TICKS + 1)


def bounds(spec: BackfillSpec, time_zone: str) -> tuple[datetime, datetime]:
    """The first and the last instant of the range, in UTC. Raises ValueError, which begins with the field's name."""
    start = _bound("from", spec.first, time_zone, is_end=False)
    end = _bound("to", spec.last, time_zone, is_end=True)
    if end < start:
        raise ValueError(f"to: {shorten(spec.last)}, expected no earlier than from, which is {spec.first}")
    return start, end


def parse_bound(text: str, time_zone: str, *, is_end: bool) -> datetime:
    """The instant that `YYYY-MM-DD` or a time of RFC 3339 means, in UTC.

    A day begins at midnight in the zone, and ends a second before the next one begins. Raises ValueError, which has the
    value and what is expected.
    """
    if _DAY_FORM.fullmatch(text):
        return _of_day(text, time_zone, is_end=is_end)
    if not _TIME_FORM.fullmatch(text):
        raise ValueError(f"{shorten(text)}, {_EXPECTED}")
    try:
        parse_date(text[:10])
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{shorten(text)}, {_EXPECTED}, of the years {FIRST_YEAR} to {LAST_YEAR}") from None


def default_id(first: str, last: str) -> str:
    """An id of at most 32 characters for a range that was given none: `20261001-20261031`.

    A range that can't be read has one, too: it is told to be invalid by that name.
    """
    parts = [_compact(text) for text in (first, last)]
    if all(parts):
        return "-".join(parts)
    return "range-" + hashlib.sha256(f"{first}/{last}".encode()).hexdigest()[:10]


def _bound(field: str, text: str, time_zone: str, *, is_end: bool) -> datetime:
    try:
        return parse_bound(text, time_zone, is_end=is_end)
    except ValueError as error:
        raise ValueError(f"{field}: {error}") from None


def _of_day(text: str, time_zone: str, *, is_end: bool) -> datetime:
    try:
        day = parse_date(text)
    except ValueError as error:
        raise ValueError(f"{shorten(text)}, {error}") from None
    try:
        zone = ZoneInfo(time_zone)
    except (OSError, ValueError, KeyError):  # a folder of the database, a bad key, not found
        raise ValueError(
            f"{text} in the time zone {shorten(time_zone)}, expected a zone of the IANA database"
        ) from None
    if is_end:
        day += timedelta(days=1)
    # A midnight that a change of the clock leaves out is the first instant after it; of two, the first is meant.
    midnight = datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
    return midnight - _SECOND if is_end else midnight


def _compact(text: str) -> str:
    if _DAY_FORM.fullmatch(text):
        return text.replace("-", "")
    try:
        return parse_bound(text, "Etc/UTC", is_end=False).strftime("%Y%m%dt%H%Mz")
    except ValueError:
        return ""
