"""Reads what a page of a provider's answer holds: its buckets, each checked, and where the next page is; pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline_runner.api.dialect import Dialect
from pipeline_runner.api.spans import Span, instant
from pipeline_runner.errors import DataError


@dataclass(frozen=True)
class Bucket:
    """What the provider has about one interval (`end` exclusive, in UTC); `results` may be empty."""

    start: datetime
    end: datetime
    results: Sequence[Mapping[str, Any]]


def read_buckets(what: str, entries: object, span: Span, dialect: Dialect) -> Iterator[Bucket]:
    """The buckets that stand in an answer, each an interval of the span. Raises DataError."""
    if not isinstance(entries, list):
        raise DataError(f"{what}: {dialect.buckets_field}: expected a list, got {entries!r:.100}")
    for index, entry in enumerate(entries):
        where = f"{what}: {dialect.buckets_field}[{index}]"
        if not isinstance(entry, dict):
            raise DataError(f"{where}: expected an object, got {entry!r:.100}")
        start = _time(where, entry, dialect.start_field, dialect)
        end = _time(where, entry, dialect.end_field, dialect)
        if start < span.start or end > span.end:
            raise DataError(f"{where}: {_shown(start, end)} is outside of what was asked for")
        if end - start != span.width or (start - span.start) % span.width:
            raise DataError(f"{where}: expected an interval of {span.width} of the span, got {_shown(start, end)}")
        results = entry.get(dialect.results_field)
        if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
            raise DataError(f"{where}.{dialect.results_field}: expected a list of objects, got {results!r:.100}")
        yield Bucket(start, end, results)


def _time(where: str, entry: Mapping[str, Any], field: str, dialect: Dialect) -> datetime:
    value = entry.get(field)
    try:
        return dialect.times.read(value)
    except (ValueError, TypeError, OverflowError, ArithmeticError, OSError):
        raise DataError(f"{where}.{field}: expected {dialect.times.expected}, got {value!r:.100}") from None


def check_order(what: str, expected: datetime, found: Iterable[Bucket]) -> None:
    """A bucket that comes twice or too late would count twice; one that lacks is another matter."""
    for bucket in found:
        if bucket.start < expected:
            raise DataError(f"{what}: the bucket {_shown(bucket.start, bucket.end)} comes twice or out of order")
        expected = bucket.end


def next_cursor(what: str, answer: Mapping[str, Any], dialect: Dialect) -> str | None:
    """What asks for the page after this one; None at the last. Raises DataError."""
    more, cursor = answer.get(dialect.more_field), answer.get(dialect.next_field)
    if not isinstance(more, bool):
        raise DataError(f"{what}: {dialect.more_field}: expected true or false, got {more!r:.100}")
    if not more:
        return None
    if not isinstance(cursor, str) or not cursor:
        raise DataError(f"{what}: {dialect.more_field} is true, but {dialect.next_field} is {cursor!r:.100}")
    return cursor


def _shown(start: datetime, end: datetime) -> str:
    return f"{instant(start)}..{instant(end)}"
