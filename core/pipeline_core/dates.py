"""Dates of a run: the calendar days its parameters name, and the rules between `date`, `start_date` and `end_date`.

A run covers one day, or a range whose both ends are included. All days are days of UTC.
"""

import re
from collections.abc import Collection, Mapping
from datetime import date

DATE = "date"
START_DATE = "start_date"
END_DATE = "end_date"
# These are dates by their name, whatever type (string or date) a config gives them.
DATE_PARAMETERS = (DATE, START_DATE, END_DATE)

# Days before BigQuery's first partition, or too near to the end of the calendar to count from, are mistakes.
FIRST_YEAR, LAST_YEAR = 1970, 9998

# A year and a leap day, with room: longer ranges are several runs.
MAX_RANGE_DAYS = 400

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def parse_date(text: str) -> date:
    """Read `YYYY-MM-DD`, a day of the years 1970 to 9998. Raises ValueError, which says what was expected."""
    try:
        day = date.fromisoformat(text) if _FORM.fullmatch(text) else None
    except ValueError:
        day = None
    if day is None:
        raise ValueError("expected a day of the calendar as YYYY-MM-DD")
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"expected a day of the years {FIRST_YEAR} to {LAST_YEAR}")
    return day


def set_aside(given: Collection[str]) -> frozenset[str]:
    """The date parameters whose default and whose being required don't count beside the ones that were given.

    A range suppresses `date`'s default, and a date suppresses the range's. `given` may hold other parameters too.
    """
    one_day = {START_DATE, END_DATE} if DATE in given else set()
    in_range = {DATE} if START_DATE in given or END_DATE in given else set()
    return frozenset(one_day | in_range)


def complete(days: Mapping[str, date], yesterday: date) -> dict[str, date]:
    """Check the days of a run against each other, and give a range without an end its end, yesterday.

    Raises ValueError if both a date and a range are given, an end without a start, an end before its start, or a range
    of more than 400 days.
    """
    if DATE in days and len(days) > 1:
        other = START_DATE if START_DATE in days else END_DATE
        raise ValueError(f"{DATE} and {other} exclude each other: give one day, or a range")
    if END_DATE in days and START_DATE not in days:
        raise ValueError(f"{END_DATE} needs {START_DATE} beside it")
    if START_DATE not in days:
        return dict(days)
    start = days[START_DATE]
    end = days.get(END_DATE, yesterday)
    if end < start:
        why = "" if END_DATE in days else " (yesterday, as none is given)"
        raise ValueError(f"{END_DATE} {end}{why} is before {START_DATE} {start}")
    length = (end - start).days + 1
    if length > MAX_RANGE_DAYS:
        raise ValueError(
            f"{START_DATE} {start} to {END_DATE} {end} are {length} days; one run covers at most {MAX_RANGE_DAYS}"
        )
    return {START_DATE: start, END_DATE: end}
