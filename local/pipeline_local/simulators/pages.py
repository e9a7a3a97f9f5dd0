"""Pages of buckets: what both providers' reports have in common before each writes them in its own words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline_local.simulators import buckets
from pipeline_local.simulators.answers import Request
from pipeline_local.simulators.buckets import WIDTHS, Grouping, LinesOf, Result
from pipeline_local.simulators.plan import Kind
from pipeline_local.simulators.query import BadRequest, Pairs, Query, cursor, read_cursor
from pipeline_local.simulators.seeds import Line

# Buckets of a page: by default, and at most. In the order in which a refusal names the widths.
LIMITS: Mapping[str, tuple[int, int]] = {"1m": (60, 1440), "1h": (24, 168), "1d": (7, 31)}


@dataclass(frozen=True)
class Asked:
    """A report as it was asked for."""

    start: datetime
    end: datetime
    width: timedelta
    limit: int
    grouping: Grouping
    filters: Mapping[str, Sequence[str]]
    """Of dimensions: the values that count, as they are written in a query."""
    pairs: Pairs
    page: str | None


@dataclass(frozen=True)
class Bucket:
    start: datetime
    end: datetime
    results: Sequence[Result]


@dataclass(frozen=True)
class Page:
    buckets: Sequence[Bucket]
    has_more: bool
    next_page: str | None


@dataclass(frozen=True)
class Span:
    """The parameters by which a provider is told when a report begins and ends, and how it reads them."""

    start: str
    end: str
    moment: Callable[[str, str], datetime]
    """What a parameter of this name says. Raises BadRequest."""

    def asked(
        self,
        request: Request,
        query: Query,
        grouping: Grouping,
        filters: Mapping[str, Sequence[str]],
        limits: Mapping[str, tuple[int, int]] = LIMITS,
    ) -> Asked:
        """The report that a query asks for, in buckets of a width that `limits` has. Raises BadRequest."""
        start = self.moment(self.start, query.required(self.start))
        told = query.text(self.end)
        name = query.choice("bucket_width", tuple(limits), "1d")
        default, most = limits[name]
        limit, width = query.number("limit", default, 1, most), WIDTHS[name]
        end = _end(start, self.moment(self.end, told) if told is not None else None, width, request.now, self.end)
        return Asked(start, end, width, limit, grouping, filters, request.pairs, query.text("page"))


def page(asked: Asked, lines_of: LinesOf, now: datetime, fault: Kind | None = None) -> Page:
    """One page. A start between two buckets is moved to the one it lies in; buckets yet to begin aren't there.

    Raises BadRequest for a cursor of another query.
    """
    first = buckets.floor(asked.start, asked.width)
    start = first if asked.page is None else read_cursor(asked.page, asked.pairs)
    total = buckets.count(start, min(asked.end, now), asked.width)
    limit = max(1, asked.limit // 2) if fault == "short-page" else asked.limit
    starts = [start + number * asked.width for number in range(min(limit, total))]
    filtered = _filtered(lines_of, asked.filters)
    made = [
        Bucket(each, each + asked.width, buckets.results(filtered, each, asked.width, asked.grouping))
        for each in starts
    ]
    following = cursor(start + len(made) * asked.width, asked.pairs) if total > len(made) else None
    match fault:
        case "no-next-page":
            return Page(made, True, None)
        case "same-page":
            return Page(made, True, asked.page or cursor(start, asked.pairs))
        case "missing-bucket":
            made = [*made[: len(made) // 2], *made[len(made) // 2 + 1 :]]
    return Page(made, following is not None, following)


def _end(start: datetime, end: datetime | None, width: timedelta, now: datetime, name: str) -> datetime:
    """The end of what was asked for: now, where it wasn't named. Raises BadRequest where it isn't after the start."""
    if end is None:
        return max(now, start + width)
    if end <= start:
        raise BadRequest(f"Invalid '{name}': expected a time after the start.", name, "invalid_value")
    return end


def _filtered(lines_of: LinesOf, filters: Mapping[str, Sequence[str]]) -> LinesOf:
    wanted = {name: frozenset(values) for name, values in filters.items() if values}
    if not wanted:
        return lines_of

    def counts(line: Line) -> bool:
        return all(_written(line.dimensions.get(name)) in values for name, values in wanted.items())

    return lambda day: [line for line in lines_of(day) if counts(line)]


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
