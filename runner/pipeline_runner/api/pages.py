"""Reads all pages of one span, and lets a bucket through only where it is proven to be the next one."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline_runner.api.client import ApiClient
from pipeline_runner.api.dialect import Dialect
from pipeline_runner.api.spans import Span, instant
from pipeline_runner.errors import DataError, TransientError

# How often in a row an answer may lack an interval before the run ends; a provider's replicas may lag.
_LACKING = 3


@dataclass(frozen=True)
class Bucket:
    """What the provider has about one interval (`end` exclusive, in UTC); `results` may be empty."""

    start: datetime
    end: datetime
    results: Sequence[Mapping[str, Any]]


async def buckets(
    client: ApiClient, path: str, query: Sequence[tuple[str, str]], span: Span, dialect: Dialect
) -> AsyncIterator[Bucket]:
    """All buckets of the span: each of its intervals once, in order.

    `query` holds what stays the same (bucket width, grouping). Only an iteration that ends has proven that nothing is
    lacking; what came before an error isn't to be published. An interval that lacks is asked for again, from there on.
    Raises DataError for an answer that breaks the rules of paging, TransientError if an interval keeps lacking, and
    what ApiClient.get raises.
    """
    expected, lacking = span.start, 0
    while expected < span.end:
        rest = Span(expected, span.end, span.width)
        async for bucket in _unbroken(client, path, query, rest, dialect):
            yield bucket
            expected, lacking = bucket.end, 0
        if expected < span.end:
            lacking += 1
            if lacking >= _LACKING:
                raise TransientError(
                    f"{client.name}: {path} of {span}: the answer lacks the bucket of {instant(expected)}, "
                    f"asked {lacking} times"
                )
            await client.back_off(lacking)


async def _unbroken(
    client: ApiClient, path: str, query: Sequence[tuple[str, str]], span: Span, dialect: Dialect
) -> AsyncIterator[Bucket]:
    """The buckets from the span's start up to the first that lacks, if any."""
    what = f"{client.name}: {path} of {span}"
    fixed = [
        *query,
        (dialect.start_parameter, dialect.times.write(span.start)),
        (dialect.end_parameter, dialect.times.write(span.end)),
        (dialect.limit_parameter, str(span.intervals)),
    ]
    expected, cursor, seen = span.start, None, set[str]()
    while True:
        page = fixed if cursor is None else [*fixed, (dialect.page_parameter, cursor)]
        answer = await client.get(path, page)
        found = list(_read_buckets(what, answer, span, dialect))
        _check_order(what, expected, found)
        for bucket in found:
            if bucket.start != expected:
                return
            yield bucket
            expected = bucket.end
        cursor = _next_cursor(what, answer, dialect)
        if cursor is None:
            return
        if cursor in seen:
            raise DataError(f"{what}: the same {dialect.next_field} came twice: {cursor!r:.100}")
        if not found:
            # Each page brings something, or a provider that is wrong would be asked for ever.
            raise DataError(f"{what}: {dialect.more_field} is true on a page without buckets")
        seen.add(cursor)


def _read_buckets(what: str, answer: Mapping[str, Any], span: Span, dialect: Dialect) -> Iterator[Bucket]:
    entries = answer.get(dialect.buckets_field)
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


def _check_order(what: str, expected: datetime, found: Sequence[Bucket]) -> None:
    """A bucket that comes twice or too late would count twice; one that lacks is another matter."""
    for bucket in found:
        if bucket.start < expected:
            raise DataError(f"{what}: the bucket {_shown(bucket.start, bucket.end)} comes twice or out of order")
        expected = bucket.end


def _next_cursor(what: str, answer: Mapping[str, Any], dialect: Dialect) -> str | None:
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
