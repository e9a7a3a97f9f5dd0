"""How a provider writes a window into a query, and its buckets into an answer: a value of each provider, no code."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from pipeline_runner.api.spans import instant

_LARGEST_UNIX = 10**11


@dataclass(frozen=True)
class Times:
    """One way of writing moments. `read` raises ValueError, TypeError or OverflowError for what isn't one."""

    expected: str  # for messages
    write: Callable[[datetime], str]
    read: Callable[[object], datetime]


@dataclass(frozen=True)
class Dialect:
    """The names of a provider's query parameters (`…_parameter`) and of the fields of its answers (`…_field`)."""

    times: Times
    start_parameter: str
    end_parameter: str
    start_field: str
    end_field: str
    limit_parameter: str = "limit"
    page_parameter: str = "page"
    buckets_field: str = "data"
    results_field: str = "results"
    more_field: str = "has_more"
    next_field: str = "next_page"


def _write_unix(moment: datetime) -> str:
    return str(int(moment.timestamp()))


def _read_unix(value: object) -> datetime:
    # A number with a point is read as Decimal; a bool is an int to Python.
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise TypeError("not a number")
    # Compared first: int() of a Decimal such as 1E+999999999 would take all memory.
    if not -_LARGEST_UNIX < value < _LARGEST_UNIX or value != int(value):
        raise ValueError("not whole seconds of this era")
    return datetime.fromtimestamp(int(value), UTC)


def _read_rfc3339(value: object) -> datetime:
    if not isinstance(value, str) or "T" not in value:
        raise ValueError("not a time")
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("without a zone")
    return moment.astimezone(UTC)


UNIX_SECONDS = Times("whole seconds since 1970", _write_unix, _read_unix)
RFC3339 = Times("a time as RFC 3339", instant, _read_rfc3339)
