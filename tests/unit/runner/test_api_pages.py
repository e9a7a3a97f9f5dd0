"""Pages are read to the end, and an answer that breaks a rule never passes for a whole one."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from pipeline_runner.api.dialect import Dialect
from pipeline_runner.api.envelope import Bucket
from pipeline_runner.api.pages import buckets
from pipeline_runner.api.spans import Span
from pipeline_runner.errors import DataError, ProcessorError, TransientError
from support.api_client import RFC, UNIX, TestClock, api_client, entry, ok, page, scripted

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
SPAN = Span(START, START + 3 * DAY, DAY)


def day(index: int, found: Sequence[Any] = (), dialect: Dialect = UNIX, **changed: object) -> dict[str, Any]:
    return {**entry(dialect, START + index * DAY, DAY, found), **changed}


async def read(
    *answers: object, dialect: Dialect = UNIX, clock: TestClock | None = None
) -> tuple[list[Bucket], list[httpx2.Request]]:
    respond, requests = scripted(*(ok(answer) for answer in answers))
    async with api_client(respond, clock=clock) as client:
        query = [("group_by[]", "project_id"), ("group_by[]", "line_item")]
        found = [bucket async for bucket in buckets(client, "/v1/costs", query, SPAN, dialect)]
    return found, requests


@pytest.mark.parametrize(
    ("dialect", "window"),
    [
        (UNIX, [("start_time", "1772323200"), ("end_time", "1772582400")]),
        (RFC, [("starting_at", "2026-03-01T00:00:00Z"), ("ending_at", "2026-03-04T00:00:00Z")]),
    ],
)
async def test_each_dialect_writes_its_window_and_reads_its_buckets(
    dialect: Dialect, window: list[tuple[str, str]]
) -> None:
    answers = (
        page([day(0, [{"a": 1}], dialect), day(1, [], dialect)], more=True, cursor="page_AAA="),
        page([day(2, [{"b": "x"}], dialect)]),
    )
    found, requests = await read(*answers, dialect=dialect)
    assert found == [
        Bucket(START, START + DAY, [{"a": 1}]),
        Bucket(START + DAY, START + 2 * DAY, []),
        Bucket(START + 2 * DAY, START + 3 * DAY, [{"b": "x"}]),
    ]
    fixed = [("group_by[]", "project_id"), ("group_by[]", "line_item"), *window, ("limit", "3")]
    assert list(requests[0].url.params.multi_items()) == fixed
    assert list(requests[1].url.params.multi_items()) == [*fixed, ("page", "page_AAA=")]


async def test_numbers_stay_exact() -> None:
    body = json.dumps(page([day(0), day(1), day(2, [{"amount": {"value": 0}}])])).replace(
        '"value": 0', '"value": 0.1234567890123456789'
    )
    respond, _ = scripted(httpx2.Response(200, content=body.encode()))
    async with api_client(respond) as client:
        found = [bucket async for bucket in buckets(client, "/v1/costs", [], SPAN, UNIX)]
    assert found[2].results[0]["amount"]["value"] == Decimal("0.1234567890123456789")


async def test_an_empty_page_may_end_it_but_not_go_on() -> None:
    whole = page([day(0), day(1), day(2)], more=True, cursor="a")
    found, requests = await read(whole, page([]))
    assert (len(found), len(requests)) == (3, 2)
    with pytest.raises(DataError, match="has_more is true on a page without buckets"):
        await read(whole, page([], more=True, cursor="b"))


WHOLE = [day(0), day(1), day(2)]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([page(WHOLE, more=True)], "has_more is true, but next_page is None"),
        ([page(WHOLE, more=True, cursor="")], "has_more is true, but next_page is ''"),
        ([page(WHOLE, more=True, cursor=7)], "has_more is true, but next_page is 7"),
        ([page(WHOLE, more="false")], "has_more: expected true or false, got 'false'"),
        ([page(WHOLE, more=None)], "has_more: expected true or false, got None"),
        ([{"data": WHOLE}], "has_more: expected true or false, got None"),
        (
            [page([day(0)], more=True, cursor="a"), page([day(1)], more=True, cursor="a")],
            "the same next_page came twice: 'a'",
        ),
        ([page([day(0)], more=True, cursor="a"), page([day(0), day(1)])], "comes twice or out of order"),
        ([page([day(0), day(0)])], "2026-03-01T00:00:00Z..2026-03-02T00:00:00Z comes twice or out of order"),
        ([page([day(1), day(0), day(2)])], "comes twice or out of order"),
        ([page(WHOLE, more=True, cursor="a"), page([day(2, [{"rest": 1}])])], "comes twice or out of order"),
        ([page([*WHOLE, day(3)])], "2026-03-04T00:00:00Z..2026-03-05T00:00:00Z is outside of what was asked for"),
        ([page([day(-1), *WHOLE])], "is outside of what was asked for"),
        ([page([day(0, end_time=int(START.timestamp()) + 3600)])], "expected an interval of 1 day, 0:00:00"),
        ([page([day(0, start_time=1772323201, end_time=1772409601)])], "expected an interval of 1 day, 0:00:00"),
        ([page([day(0, start_time=None)])], r"data\[0\].start_time: expected whole seconds since 1970, got None"),
        ([page([day(0, start_time="1772323200")])], "expected whole seconds since 1970, got '1772323200'"),
        ([page([day(0, start_time=True)])], "expected whole seconds since 1970, got True"),
        ([page([day(0, start_time=1772323200.5)])], "expected whole seconds since 1970"),
        ([page([day(0, start_time=10**30)])], "expected whole seconds since 1970"),
        ([page([day(0, results=None)])], r"data\[0\].results: expected a list of objects, got None"),
        ([page([day(0, results=[1])])], r"results: expected a list of objects, got \[1\]"),
        ([page(["bucket"])], r"data\[0\]: expected an object, got 'bucket'"),  # type: ignore[list-item]
        ([{"has_more": False}], "data: expected a list, got None"),
        ([[1, 2]], "expected a JSON object, got list"),
    ],
)
async def test_a_broken_rule_is_an_error_of_the_data(answers: list[object], said: str) -> None:
    with pytest.raises(DataError, match=said):
        await read(*answers)


@pytest.mark.parametrize("time", ["2026-03-01", "2026-03-01T00:00:00", "yesterday", 1772323200, None])
async def test_a_time_that_isnt_rfc_3339_is_an_error_of_the_data(time: object) -> None:
    with pytest.raises(DataError, match=r"starting_at: expected a time as RFC 3339, got"):
        await read(page([day(0, [], RFC, starting_at=time)]), dialect=RFC)


async def test_a_number_that_would_fill_the_memory_is_refused() -> None:
    body = json.dumps(page([day(0)])).replace("1772323200", "1e999999999")
    respond, _ = scripted(httpx2.Response(200, content=body.encode()))
    async with api_client(respond) as client:
        with pytest.raises(DataError, match="expected whole seconds since 1970"):
            _ = [bucket async for bucket in buckets(client, "/v1/costs", [], SPAN, UNIX)]


async def test_what_lacks_is_asked_for_again_from_there_on() -> None:
    clock = TestClock()
    found, requests = await read(page([day(0), day(2)]), page([day(1), day(2)]), clock=clock)
    assert [bucket.start for bucket in found] == [START, START + DAY, START + 2 * DAY]
    assert [request.url.params["start_time"] for request in requests] == ["1772323200", "1772409600"]
    assert [request.url.params["limit"] for request in requests] == ["3", "2"]
    assert clock.sleeps == [0.5]


async def test_an_empty_page_that_promises_more_lacks_the_bucket_that_comes_next() -> None:
    clock = TestClock()
    empty = page([], more=True, cursor="b")
    found, requests = await read(page([day(0)], more=True, cursor="a"), empty, page([day(1), day(2)]), clock=clock)
    assert [bucket.start for bucket in found] == [START, START + DAY, START + 2 * DAY]
    assert [request.url.params.get("page") for request in requests] == [None, "a", None]
    assert clock.sleeps == [0.5]
    with pytest.raises(TransientError, match=r"the answer lacks the bucket of 2026-03-02T00:00:00Z, asked 3 times"):
        await read(page([day(0)], more=True, cursor="a"), empty)


async def test_lacking_is_forgiven_as_long_as_each_answer_brings_something() -> None:
    span = Span(START, START + 6 * DAY, DAY)
    respond, requests = scripted(*(ok(page([day(index)])) for index in range(6)))
    async with api_client(respond) as client:
        found = [bucket.start async for bucket in buckets(client, "/v1/costs", [], span, UNIX)]
    assert found == [START + index * DAY for index in range(6)]
    assert len(requests) == 6


@pytest.mark.parametrize("lacking", [[day(0), day(1)], [day(0), day(2)], [day(1), day(2)], []])
async def test_what_keeps_lacking_is_a_passing_trouble(lacking: list[dict[str, Any]]) -> None:
    clock = TestClock()

    async def respond(request: httpx2.Request) -> httpx2.Response:
        start = int(request.url.params["start_time"])
        return ok(page([each for each in lacking if each["start_time"] >= start]))

    async with api_client(respond, clock=clock) as client:
        with pytest.raises(TransientError, match=r"the answer lacks the bucket of 2026-03-0[123]T00:00:00Z, asked 3"):
            _ = [bucket async for bucket in buckets(client, "/v1/costs", [], SPAN, UNIX)]
    assert clock.sleeps == [0.5, 1.0]


async def test_the_error_names_the_provider_the_path_and_the_span() -> None:
    with pytest.raises(ProcessorError) as caught:
        await read(page(WHOLE, more=True))
    assert str(caught.value).startswith("OpenAI: /v1/costs of 2026-03-01T00:00:00Z..2026-03-04T00:00:00Z: ")


# Answers that are too large.


class Heavy:
    """A provider whose buckets have a weight; it pages as it should, and `requests` are how it was asked."""

    def __init__(self, *weights: int, trailer: int = 0) -> None:
        self._weights, self._trailer = weights, trailer
        self.requests: list[tuple[int, int, str | None]] = []  # first bucket, limit, cursor

    async def respond(self, request: httpx2.Request) -> httpx2.Response:
        params = request.url.params
        first = (int(params["start_time"]) - int(START.timestamp())) // 86_400
        limit, cursor = int(params["limit"]), params.get("page")
        self.requests.append((first, limit, cursor))
        if cursor == "trailer":
            return ok(page([], cursor="x" * self._trailer))
        begin = first if cursor is None else int(cursor)
        found = [
            day(begin + number, [{"x": "x" * weight}]) for number, weight in enumerate(self._weights[begin:][:limit])
        ]
        after = begin + len(found)
        if after < len(self._weights):
            return ok(page(found, more=True, cursor=str(after)))
        return ok(page(found, more=bool(self._trailer), cursor="trailer" if self._trailer else None))

    async def read(self) -> list[Bucket]:
        """All buckets, with answers of at most 2,000 bytes."""
        span = Span(START, START + len(self._weights) * DAY, DAY)
        async with api_client(self.respond, settings={"max_body_bytes": 2_000}) as client:
            return [bucket async for bucket in buckets(client, "/v1/costs", [], span, UNIX)]


async def test_of_what_is_too_large_half_as_much_is_asked_for() -> None:
    provider = Heavy(*[700] * 7)
    found = await provider.read()
    assert [bucket.start for bucket in found] == [START + index * DAY for index in range(7)]
    # 7 and 3 are too many for an answer; the cursors are those of pages of one
    one_each = [(0, 1, None), *((0, 1, str(index)) for index in range(1, 7))]
    assert provider.requests == [(0, 7, None), (0, 3, None), *one_each]


async def test_what_was_read_before_the_answer_that_is_too_large_isnt_asked_for_again() -> None:
    # the first page has one bucket, and the provider's cursor leads to four that are too large together
    provider = Heavy(1_500, 900, 700, 700, 700)
    found = await provider.read()
    assert [len(bucket.results[0]["x"]) for bucket in found] == [1_500, 900, 700, 700, 700]
    assert provider.requests[:4] == [(0, 5, None), (0, 2, None), (0, 1, None), (0, 1, "1")]
    light_then_heavy = Heavy(10, 10, 10, 10, 1_000, 1_000, 10)
    found = await light_then_heavy.read()
    assert len(found) == 7
    assert light_then_heavy.requests == [(0, 7, None), (0, 3, None), (0, 3, "3"), (3, 1, None), (3, 1, "4"),
                                         (3, 1, "5"), (3, 1, "6")]  # fmt: skip


async def test_one_bucket_that_is_too_large_is_an_error_that_says_what_to_do() -> None:
    provider = Heavy(10, 3_000, 10)
    said = r"larger than 2000 bytes, though it is about one bucket alone, that of 2026-03-02.*PIPELINES_API_MAX_BODY"
    with pytest.raises(DataError, match=said):
        await provider.read()
    assert len(provider.requests) == 3


async def test_a_last_page_that_is_too_large_and_has_nothing_more_to_bring_is_an_error() -> None:
    with pytest.raises(DataError, match=r"the answer is larger than 2000 bytes$"):
        await Heavy(10, 10, trailer=3_000).read()
