"""What a schedule's cron expression and time zone may be, in words of their own where they can't.

Five fields, or a name such as @daily. A field is a list of `*`, `*/n`, `a`, `a/n` (from a to the end), `a-b` and
`a-b/n`; months and days of the week have names, too, in any case. A day of the month may be `L`, the last; a day of the
week `5#2`, the month's second Friday, or `L5`, its last one. 0 and 7 are Sunday.

Where both days are given, either will do, as POSIX has it. Where programs that read cron expressions understand
different things, the expression is refused instead of being taken in one of them:

- `*/2` as one day beside the other: either will do (POSIX), or both must (vixie cron). `1-31/2` means the former.
- `5#2` or `L5` beside a day of the month: likewise.
- `5-5`: that one value (vixie cron), or all of them (croniter).
- `22-6/2`: an error (vixie cron), or steps that go on past the end of the day. `22-6` is clear.
- H, R, ?, W, seconds, years and @reboot, which only some know.
"""

import functools
import re
import zoneinfo
from dataclasses import dataclass

from croniter import CroniterError, croniter

from pipeline_core.wording import shorten

# The limits of crds/pipelineschedules.yaml.
CRON_NAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
MAX_CRON = 256
MAX_ZONE = 64

# The machine's own zone, and the one of a machine that wasn't set up: files beside the database's, but no names of it.
_NO_ZONES = frozenset({"localtime", "Factory"})


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five. `end` is where `a/n` ends, `most` the largest number; names count from `first`."""

    title: str
    first: int
    end: int
    most: int
    names: tuple[str, ...] = ()
    special: str = ""

    @property
    def expected(self) -> str:
        names = f" or {self.names[0]} to {self.names[-1]}" if self.names else ""
        special = f"; or {self.special}" if self.special else ""
        return f"*, */n, a, a/n, a-b or a-b/n, of {self.first} to {self.most}{names}{special}"

    def number(self, value: str) -> int:
        """Raises ValueError for what isn't a value of the field."""
        number = int(value) if value.isdigit() else self.names.index(value.lower()) + self.first
        if not self.first <= number <= self.most:
            raise ValueError(self.expected)
        return number


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY_OF_MONTH = _Field("day of the month", 1, 31, 31, special="L")
_DAY_OF_WEEK = _Field("day of the week", 0, 6, 7, _DAYS, special="5#2 or L5")
_FIELDS = (
    _Field("minute", 0, 59, 59),
    _Field("hour", 0, 23, 23),
    _DAY_OF_MONTH,
    _Field("month", 1, 12, 12, _MONTHS),
    _DAY_OF_WEEK,
)
_ANY_CASE = re.IGNORECASE | re.ASCII
_VALUE = "[0-9]{1,4}|[a-z]{3}"
_ITEM = re.compile(rf"(?P<low>{_VALUE})(-(?P<high>{_VALUE}))?(/(?P<step>[0-9]{{1,4}}))?", _ANY_CASE)
_EVERY = re.compile(r"\*(/(?P<step>[0-9]{1,4}))?")
_LAST_DAY = re.compile("L", _ANY_CASE)
_WEEKDAY_OF_MONTH = re.compile(rf"([0-7]|{'|'.join(_DAYS)})#[1-5]|L[0-7]", _ANY_CASE)


def check_cron_expression(expression: str) -> str:
    """A cron expression in the form that the API server takes. Raises ValueError, which says what is expected."""
    expected = f'five fields such as "0 */6 * * *", or one of {", ".join(CRON_NAMES)}'
    if len(expression) > MAX_CRON:  # before it is read, which takes its time over a long one
        raise ValueError(f"{expected}; at most {MAX_CRON} characters")
    text = " ".join(expression.split())
    if text in CRON_NAMES:
        return text
    parts = text.split()
    if len(parts) in {6, 7}:
        raise ValueError(f"{expected}; it has {len(parts)} fields, and seconds and years aren't supported")
    if len(parts) != 5:
        raise ValueError(expected)
    try:
        for field, part in zip(_FIELDS, parts, strict=True):
            _check_field(field, part)
        _check_days(parts[2], parts[4])
        croniter.expand(text, strict=True)
    except CroniterError as error:
        raise ValueError(f"{expected}; {shorten(text)} names a day that never comes: {error}") from None
    except ValueError as error:
        raise ValueError(f"{expected}; {error}") from None
    return text


@functools.cache
def time_zones() -> frozenset[str]:
    """The names of the IANA database. The first call opens 600 files, up to a tenth of a second."""
    return frozenset(zoneinfo.available_timezones() - _NO_ZONES)


def check_time_zone(name: str) -> str:
    """A name of the IANA database. Raises ValueError, which says what is expected."""
    if name not in time_zones():
        raise ValueError("a name of the IANA time zone database, such as Etc/UTC or Europe/Madrid")
    return name


def _check_field(field: _Field, text: str) -> None:
    if text == "*":
        return
    items = text.split(",")
    if "*" in items:
        raise ValueError(f"{field.title} {shorten(text)}: * can't be listed beside others")
    if field is _DAY_OF_MONTH:
        items = [item for item in items if not _LAST_DAY.fullmatch(item)]
    if field is _DAY_OF_WEEK:
        plain = [item for item in items if not _WEEKDAY_OF_MONTH.fullmatch(item)]
        if plain and len(plain) < len(items):
            raise ValueError(f"{field.title} {shorten(text)}: {field.special} can't be listed beside other days")
        items = plain
    for item in items:
        try:
            _check_item(field, item)
        except ValueError as error:
            raise ValueError(f"{field.title} {shorten(item)}, expected {error}") from None


def _check_item(field: _Field, item: str) -> None:
    """Raises ValueError, which says what is expected."""
    found = _EVERY.fullmatch(item) or _ITEM.fullmatch(item)
    if not found:
        raise ValueError(field.expected)
    # "*/90" would be the 0th minute of each hour, which nobody means.
    values = field.end - field.first + 1
    if found["step"] and not 1 <= int(found["step"]) <= values:
        raise ValueError(f"a step from 1 to {values}")
    if item.startswith("*"):
        return
    try:
        low = field.number(found["low"])
        high = field.number(found["high"]) if found["high"] else None
    except ValueError:
        raise ValueError(field.expected) from None
    if high is not None and low >= high and low % values == high % values:  # 7-0 is Sunday to Sunday
        raise ValueError(f"{found['low']}, or * for all")
    if found["step"] and low > (field.end if high is None else high):
        raise ValueError("the values one by one: a range with a step ends after it begins")


def _check_days(day_of_month: str, day_of_week: str) -> None:
    if day_of_month == "*" or day_of_week == "*":
        return
    for field, text in ((_DAY_OF_MONTH, day_of_month), (_DAY_OF_WEEK, day_of_week)):
        if "*" in text:
            raise ValueError(
                f"{field.title} {shorten(text)} beside another day, where some take both and some take either; "
                f"expected {field.first}-{field.end}/n for either"
            )
    if _WEEKDAY_OF_MONTH.search(day_of_week):
        raise ValueError(
            f"day of the week {shorten(day_of_week)} beside a day of the month, where some take both and some take "
            "either; expected one of them, and a schedule for each"
        )
