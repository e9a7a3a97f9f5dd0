"""Reads durations and moments that people give."""

import re
from datetime import UTC, datetime, time, timedelta

from pipeline_core.dates import parse_date

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_DURATION = re.compile(r"([0-9]{1,5})([mhd])")


def duration(field: str, text: str) -> timedelta:
    """A duration such as 30m, 24h or 90d, or 0. Raises ValueError, naming the field."""
    if text == "0":
        return timedelta()
    if not (found := _DURATION.fullmatch(text)):
        raise ValueError(f"{field} {text!r:.100}: expected a time such as 30m, 24h or 90d, or 0")
    return int(found[1]) * _UNITS[found[2]]


def moment(field: str, text: str, now: datetime) -> datetime:
    """A moment to come, in UTC: after a duration, or at the beginning of a day. Raises ValueError, naming the field."""
    expected = "expected a time to come, such as 24h or 90d, or a day such as 2027-01-31"
    if found := _DURATION.fullmatch(text):
        at = now + int(found[1]) * _UNITS[found[2]]
    else:
        try:
            at = datetime.combine(parse_date(text), time(), UTC)
        except ValueError:
            raise ValueError(f"{field} {text!r:.100}: {expected}") from None
    if at <= now:
        raise ValueError(f"{field} {text!r:.100}: {expected}")
    return at
