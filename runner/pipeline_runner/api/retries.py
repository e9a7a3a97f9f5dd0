"""What a response says about asking again: whether it helps, and when; pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus

# Our own backoff, where the provider says nothing: seconds.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
# What is longer than a year is as good as for ever, and stays a number that can be added.
_FOR_EVER = 366 * 86_400.0

# Both providers' own clients heed it.
_ANOTHER_HELPS = "x-should-retry"
# OpenAI says 429 to an account without credit, too: https://platform.openai.com/docs/guides/error-codes
_FINAL_KINDS = frozenset({"insufficient_quota", "billing_hard_limit_reached"})

_NUMBER = re.compile(r"[0-9]{1,40}(?:\.[0-9]{0,40})?")
_PART = re.compile(r"([0-9]{1,40}(?:\.[0-9]{0,40})?)(ns|us|µs|ms|h|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(f"(?:{_PART.pattern})+")
_RESET = re.compile(r"x-ratelimit-reset-(.+)")


class Verdict(Enum):
    """What a status means for the request."""

    DONE = "done"
    AGAIN = "again"  # this request, in a while
    THROTTLED = "throttled"  # every request of the client, in a while
    DENIED = "denied"
    REFUSED = "refused"
    MOVED = "moved"


@dataclass(frozen=True)
class Wait:
    """How long the provider asks to wait, and the header that says so."""

    seconds: float
    header: str


def verdict(status: int, headers: Mapping[str, str] | None = None, kinds: Collection[str] = ()) -> Verdict:
    """What to do about an answer of this status, with these headers (by lower-case name) and kinds of error."""
    if 200 <= status < 300:
        return Verdict.DONE
    if 300 <= status < 400:
        return Verdict.MOVED
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        is_final = (headers or {}).get(_ANOTHER_HELPS) == "false" or not _FINAL_KINDS.isdisjoint(kinds)
        return Verdict.REFUSED if is_final else Verdict.THROTTLED
    if status in (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED):
        return Verdict.REFUSED
    # 409: providers answer so where another request holds a lock.
    if status >= 500 or status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT):
        return Verdict.AGAIN
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Verdict.DENIED
    return Verdict.REFUSED


def backoff(attempt: int, chance: float) -> float:
    """Seconds before the next attempt, `attempt` of them done: exponential, `chance` (0 to 1) of the longest.

    All of the wait is chance ("full jitter"), so that those who failed together don't come back together.
    """
    return chance * min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(attempt - 1, 30))


def asked_wait(headers: Mapping[str, str], now: datetime, *, throttled: bool) -> Wait | None:
    """How long the answer asks to wait; its own `Date` counts as now, so that our clock may be wrong.

    `headers` by lower-case name. The first that can be read counts: `retry-after-ms`, `retry-after` (seconds or a
    date), and where the request was `throttled`, the longest of `x-ratelimit-reset-*` (durations such as `6m0s`), or
    `anthropic-ratelimit-requests-reset` (RFC 3339): other answers have those too, just to inform.
    """
    now = _http_date(headers.get("date", "")) or now
    said = {name: headers[name].strip() for name in headers}
    readers = (
        (_retry_after_ms, _retry_after, _longest_reset, _anthropic_reset)
        if throttled
        else (
            _retry_after_ms,
            _retry_after,
        )
    )
    for read in readers:
        found = read(said, now)
        if found is not None:
            return Wait(min(max(found.seconds, 0.0), _FOR_EVER), found.header)
    return None


def _retry_after_ms(said: Mapping[str, str], _: datetime) -> Wait | None:
    value = said.get("retry-after-ms", "")
    return Wait(float(value) / 1000, "retry-after-ms") if _NUMBER.fullmatch(value) else None


def _retry_after(said: Mapping[str, str], now: datetime) -> Wait | None:
    value = said.get("retry-after", "")
    if _NUMBER.fullmatch(value):
        return Wait(float(value), "retry-after")
    date = _http_date(value)
    return Wait((date - now).total_seconds(), "retry-after") if date else None


def _longest_reset(said: Mapping[str, str], _: datetime) -> Wait | None:
    """Of the limits that have nothing left, if that is said, else of all."""
    waits, exhausted = [], []
    for name, value in said.items():
        limit, seconds = _RESET.fullmatch(name), _duration(value)
        if limit and seconds is not None:
            waits.append(Wait(seconds, name))
            if said.get(f"x-ratelimit-remaining-{limit[1]}") == "0":
                exhausted.append(waits[-1])
    return max(exhausted or waits, key=lambda wait: wait.seconds, default=None)


def _anthropic_reset(said: Mapping[str, str], now: datetime) -> Wait | None:
    name = "anthropic-ratelimit-requests-reset"
    try:
        moment = datetime.fromisoformat(said.get(name, ""))
        return Wait((moment - now).total_seconds(), name)
    except (ValueError, TypeError, OverflowError):  # TypeError: it has no zone
        return None


def _duration(value: str) -> float | None:
    """Seconds of a duration such as `6m0s`, `1h2m3.5s` or `20ms`."""
    if not _DURATION.fullmatch(value):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
