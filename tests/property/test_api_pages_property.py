"""Of any server that pages as it should, every bucket comes once; of one that doesn't, an error comes, never less.

The server is a small one of its own: it answers from a list of buckets, cuts pages where it likes, and may break one
rule.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_runner.api.dialect import Dialect
from pipeline_runner.api.envelope import Bucket
from pipeline_runner.api.pages import buckets
from pipeline_runner.api.retries import asked_wait
from pipeline_runner.api.spans import Span, spans
from pipeline_runner.errors import DataError, ProcessorError
from support.api_client import RFC, UNIX, api_client, entry, ok, page

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class Server:
    """Has a bucket for every interval; its pages have the sizes drawn, and in the end maybe an empty one."""

    def __init__(self, dialect: Dialect, span: Span, sizes: list[int], *, empty_end: bool) -> None:
        self.dialect, self.span, self.sizes, self.empty_end = dialect, span, sizes, empty_end
        self.all = [
            entry(dialect, span.start + index * span.width, span.width, [{"index": index}])
            for index in range(span.intervals)
        ]
        self.answers = 0

    async def respond(self, request: httpx2.Request) -> httpx2.Response:
        params = request.url.params
        begin = self.dialect.times.write
        written = {begin(self.span.start + index * self.span.width): index for index in range(self.span.intervals)}
        first = int(params["page"].split("-")[1]) if "page" in params else written[params[self.dialect.start_parameter]]
        size = min(self.sizes[self.answers % len(self.sizes)], int(params["limit"]))
        self.answers += 1
        found = self.all[first : first + size]
        after = first + len(found)
        more = after < len(self.all) or (self.empty_end and bool(found))
        return ok(self.broken(page(found, more=more, cursor=f"from-{after}" if more else None)))

    def broken(self, answer: dict[str, Any]) -> dict[str, Any]:
        return answer


class BreaksOneRule(Server):
    """Breaks a rule in the answer with the number drawn, and again in each that comes after it."""

    rule = ""
    at = 0

    def broken(self, answer: dict[str, Any]) -> dict[str, Any]:
        found: list[dict[str, Any]] = answer["data"]
        if self.answers <= self.at or not found:
            return answer
        match self.rule:
            case "lost cursor":
                return {**answer, "has_more": True, "next_page": None}
            case "same cursor":
                return {**answer, "has_more": True, "next_page": "from-0"}
            case "ends early":
                return page(found[:-1])
            case "drops the first":
                return {**answer, "data": found[1:]}
            case "twice":
                return {**answer, "data": [found[0], *found]}
            case "descending":
                return {**answer, "data": [*found[::-1], found[0]]}
            case "shifted":
                moved = [self.shift(each) for each in found]
                return {**answer, "data": moved}
            case "no results":
                return {**answer, "data": [{**found[0], self.dialect.results_field: None}, *found[1:]]}
            case rule:
                raise AssertionError(rule)

    def shift(self, each: dict[str, Any]) -> dict[str, Any]:
        start = self.dialect.times.read(each[self.dialect.start_field])
        return entry(self.dialect, start + timedelta(seconds=60), self.span.width)


class Heavy(Server):
    """Its buckets have weights, so that some answers are too large."""

    def __init__(self, dialect: Dialect, span: Span, sizes: list[int], weights: list[int]) -> None:
        super().__init__(dialect, span, sizes, empty_end=False)
        for number, each in enumerate(self.all):
            each[dialect.results_field].append({"x": "x" * weights[number % len(weights)]})

    @property
    def heaviest(self) -> int:
        """Bytes of the largest answer that has one bucket."""
        return max(
            len(
                ok(
                    page([each], more=after < len(self.all), cursor=f"from-{after}" if after < len(self.all) else None)
                ).content
            )
            for after, each in enumerate(self.all, 1)
        )


RULES = ["lost cursor", "same cursor", "ends early", "drops the first", "twice", "descending", "shifted", "no results"]
SPANS = st.builds(
    lambda intervals, width: Span(START, START + intervals * width, width),
    st.integers(1, 40),
    st.sampled_from([DAY, HOUR]),
)
DIALECTS = st.sampled_from([UNIX, RFC])
SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def read(server: Server, **settings: object) -> list[Bucket]:
    async def all_of_them() -> list[Bucket]:
        async with api_client(server.respond, settings=settings) as client:
            return [each async for each in buckets(client, "/v1/x", [], server.span, server.dialect)]

    return asyncio.run(all_of_them())


@given(span=SPANS, dialect=DIALECTS, sizes=SIZES, empty_end=st.booleans())
def test_of_a_correct_server_every_bucket_comes_once(
    span: Span, dialect: Dialect, sizes: list[int], empty_end: bool
) -> None:
    server = Server(dialect, span, sizes, empty_end=empty_end)
    found = read(server)
    assert [each.start for each in found] == [span.start + index * span.width for index in range(span.intervals)]
    assert [each.results for each in found] == [[{"index": index}] for index in range(span.intervals)]
    # No page is asked for twice.
    assert server.answers <= span.intervals + 1


@given(
    span=SPANS,
    dialect=DIALECTS,
    sizes=SIZES,
    weights=st.lists(st.integers(0, 1_500), min_size=1, max_size=8),
    most=st.integers(700, 3_000),
)
def test_of_a_server_with_answers_too_large_every_bucket_comes_once_or_one_alone_is_too_large(
    span: Span, dialect: Dialect, sizes: list[int], weights: list[int], most: int
) -> None:
    server = Heavy(dialect, span, sizes, weights)
    if server.heaviest > most:
        with pytest.raises(DataError, match="one bucket alone"):
            read(server, max_body_bytes=most)
        return
    found = read(server, max_body_bytes=most)
    assert [each.start for each in found] == [span.start + index * span.width for index in range(span.intervals)]
    assert [each.results[0] for each in found] == [{"index": index} for index in range(span.intervals)]


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TIMES = st.one_of(
    st.none(), st.booleans(), st.integers(), NUMBERS, st.text(max_size=30), st.lists(st.integers(), max_size=2),
    st.datetimes().map(datetime.isoformat), st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.dictionaries(st.text(max_size=3), st.none(), max_size=2),
)  # fmt: skip


@given(dialect=DIALECTS, field=st.sampled_from(["start_field", "end_field"]), time=TIMES)
def test_a_time_that_cannot_be_read_is_told_and_never_taken_for_another(
    dialect: Dialect, field: str, time: object
) -> None:
    span = Span(START, START + DAY, DAY)
    server = Server(dialect, span, [1], empty_end=False)
    right = server.all[0][getattr(dialect, field)]
    server.all[0][getattr(dialect, field)] = time
    try:
        (found,) = read(server)
    except DataError:
        return
    # it was another way to write the same moment
    assert (found.start, found.end) == (span.start, span.end)
    assert dialect.times.read(time) == dialect.times.read(right)


@given(span=SPANS, dialect=DIALECTS, sizes=SIZES, rule=st.sampled_from(RULES), data=st.data())
def test_of_a_server_that_breaks_a_rule_an_error_comes(
    span: Span, dialect: Dialect, sizes: list[int], rule: str, data: st.DataObject
) -> None:
    server = BreaksOneRule(dialect, span, sizes, empty_end=False)
    pages_there_are = 0
    left = span.intervals
    while left > 0:
        left -= min(sizes[pages_there_are % len(sizes)], span.intervals)
        pages_there_are += 1
    server.rule, server.at = rule, data.draw(st.integers(0, pages_there_are - 1))
    with pytest.raises(ProcessorError):
        read(server)


@given(
    first=st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    days=st.integers(1, 400),
    width=st.sampled_from([DAY, HOUR, timedelta(minutes=1), timedelta(hours=6)]),
    limit=st.integers(1, 2_000),
)
def test_spans_tile_the_window_with_as_few_requests_as_can_be(
    first: date, days: int, width: timedelta, limit: int
) -> None:
    last = first + timedelta(days=days - 1)
    found = spans(first, last, width, limit)
    midnight = datetime(first.year, first.month, first.day, tzinfo=UTC)
    assert found[0].start == midnight
    assert found[-1].end == midnight + days * DAY
    assert all(before.end == after.start for before, after in pairwise(found))
    assert all(each.start < each.end and (each.end - each.start) % width == timedelta(0) for each in found)
    assert all(1 <= each.intervals <= limit for each in found)
    intervals = days * DAY // width
    assert len(found) == -(-intervals // limit)


HEADERS = ["date", "retry-after-ms", "retry-after", "x-ratelimit-reset-requests", "x-ratelimit-remaining-requests"]


@given(
    said=st.dictionaries(
        st.sampled_from([*HEADERS, "anthropic-ratelimit-requests-reset"]),
        st.one_of(st.text(max_size=40), st.from_regex(r"[0-9]{1,9}(\.[0-9])?(ms|s|m|h)?", fullmatch=True)),
    ),
    throttled=st.booleans(),
)
def test_no_header_makes_a_wait_that_is_none(said: dict[str, str], throttled: bool) -> None:
    found = asked_wait(said, START, throttled=throttled)
    assert found is None or (0.0 <= found.seconds <= 366 * 86_400 and found.header in said)
