"""The history over HTTP: pages by cursor and by link, filters, and what is refused by name."""

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline_bridge.models.records import RunHistory
from pipeline_bridge.reading import read_cursor, read_moment, write_cursor
from pipeline_core.api_keys import Scope
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.runs import HistoryCursor
from support.bridge import Bridge
from support.runs import T0, after, new_run

PATH = "/api/v1/pipelines/history/acme"


async def bridge_with_runs(count: int, **values: Any) -> Bridge:
    """`count` runs, three in each second."""
    bridge = Bridge()
    for i in range(count):
        await bridge.records.begin(new_run(f"run_{i:02}", created_at=after(i // 3), **values))
    return bridge


async def get(bridge: Bridge, address: str) -> httpx2.Response:
    async with bridge.client(bridge.key(Scope.READ)) as client:
        return await client.get(address)


async def ids(bridge: Bridge, query: str) -> list[str]:
    answer = await get(bridge, f"{PATH}?{query}")
    assert answer.status_code == 200, answer.text
    return [run["run_id"] for run in answer.json()["runs"]]


async def refused(bridge: Bridge, query: str) -> tuple[int, str, str]:
    answer = await get(bridge, f"{PATH}?{query}")
    problem = answer.json()
    return answer.status_code, problem["errors"][0]["field"], problem["detail"]


async def test_a_run_is_the_specifications_field_for_field() -> None:
    bridge = await bridge_with_runs(1)
    assert (await get(bridge, PATH)).json() == {
        "runs": [
            {
                "run_id": "run_00",
                "org_slug": "acme",
                "provider": "gcp",
                "domain": "cost",
                "pipeline": "billing",
                "status": "pending",
                "parameters": {"date": "2026-11-02"},
                "created_at": "2026-11-03T23:59:58.123456Z",
            }
        ]
    }
    await bridge.records.finish("run_00", phase=Phase.FAILED, at=after(2), error_message="x", started_at=after(1))
    answer = (await get(bridge, PATH)).json()
    RunHistory.model_validate(answer)
    assert answer["runs"][0].keys() - {"error_message", "started_at", "completed_at"} == {
        "run_id", "org_slug", "provider", "domain", "pipeline", "status", "parameters", "created_at"
    }  # fmt: skip


async def test_links_lead_through_all_runs_with_the_filters_kept() -> None:
    bridge = await bridge_with_runs(10)
    await bridge.records.begin(new_run("run_other", org_slug="globex"))
    await bridge.records.begin(new_run("run_openai", provider="openai"))
    seen: list[str] = []
    address: str | None = f"{PATH}?limit=4&provider=gcp&status=pending&status=failed"
    while address:
        answer = await get(bridge, address)
        body = answer.json()
        seen += [run["run_id"] for run in body["runs"]]
        await bridge.records.begin(new_run(f"run_new{len(seen)}", created_at=after(100)))
        link = answer.headers.get("Link")
        assert (link is None) == ("next_cursor" not in body)
        address = link and urljoin(address, link.removeprefix("<").removesuffix('>; rel="next"'))
        assert address is None or f"cursor={body['next_cursor']}" in address
    assert seen == [f"run_{i:02}" for i in reversed(range(10))]


@pytest.mark.parametrize(("limit", "has_next"), [(9, True), (10, False), (11, False)])
async def test_only_a_page_that_isnt_the_last_has_a_next_one(limit: int, has_next: bool) -> None:
    answer = await get(await bridge_with_runs(10), f"{PATH}?limit={limit}")
    assert len(answer.json()["runs"]) == min(limit, 10)
    assert ("next_cursor" in answer.json()) == has_next


async def test_a_page_has_fifty_runs_unless_another_number_is_given() -> None:
    bridge = await bridge_with_runs(51)
    assert len(await ids(bridge, "")) == 50
    assert len(await ids(bridge, "limit=500")) == 51


async def test_filters() -> None:
    bridge = await bridge_with_runs(3)
    await bridge.records.begin(new_run("run_old", created_at=datetime(2026, 11, 2, 12, tzinfo=UTC), provider="openai"))
    await bridge.records.finish("run_old", phase=Phase.CANCELLED, at=after(1))
    assert await ids(bridge, "provider=openai") == ["run_old"]
    assert await ids(bridge, "provider=nobody") == []
    assert len(await ids(bridge, "provider=&limit=50")) == 4, "an empty one is none"
    assert await ids(bridge, "provider=%00") == []
    assert await ids(bridge, "status=cancelled&status=failed") == ["run_old"]
    assert await ids(bridge, "until=2026-11-03") == ["run_old"]
    assert len(await ids(bridge, "since=2026-11-03")) == 3
    assert await ids(bridge, "since=2026-11-02T13:00:00%2B01:00&until=2026-11-02T12:00:00.000001Z") == ["run_old"]
    assert await ids(bridge, "since=2026-11-02&until=2026-11-02") == []
    assert len(await ids(bridge, "since=0001-01-01T00:00:00.1234567890%2B23:00&until=9999-12-31t23:59:59-23:00")) == 4


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("limit=0", "limit", "greater than or equal to 1"),
        ("limit=501", "limit", "less than or equal to 500"),
        ("limit=many", "limit", "integer"),
        ("status=done", "status[0]", "'pending'"),
        ("since=yesterday", "since", "a day such as 2026-11-03, or a time with its zone"),
        ("since=2026-11-03T06:00:00", "since", "with its zone"),
        ("until=2026-11-03T06:00:00+01:00", "until", "%2B"),
        ("until=2026-11-31", "until", "a day such as"),
        ("until=2026-11-03T25:00:00Z", "until", "a day such as"),
        ("since=2026-11-03&until=2026-11-02", "until", "a moment that isn't before `since`"),
        ("cursor=abc", "cursor", "the next_cursor of an answer"),
        ("cursor=", "cursor", "the next_cursor of an answer"),
        ("provder=gcp", "provder", "provider, status, since, until, limit, cursor"),
    ],
)
async def test_what_cant_be_is_refused_by_its_name(query: str, field: str, words: str) -> None:
    status, named, detail = await refused(Bridge(), query)
    assert (status, named) == (422, field)
    assert words in detail


POSITIONS = st.builds(
    HistoryCursor,
    st.datetimes(datetime(1970, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC)),
    st.from_regex(r"run_[a-z0-9]{1,48}", fullmatch=True),
)


@given(POSITIONS)
def test_a_cursor_says_its_position_in_characters_of_addresses(position: HistoryCursor) -> None:
    cursor = write_cursor(position)
    assert read_cursor(cursor) == position
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cursor)


@given(
    st.text(max_size=60)
    | POSITIONS.map(lambda each: write_cursor(each) + "A")
    | st.just(write_cursor(HistoryCursor(T0, "x")))
)
def test_any_other_text_is_no_cursor(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the next_cursor of an answer$"):
        read_cursor(text)


@given(st.text(max_size=30) | st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", fullmatch=True))
def test_any_text_is_a_moment_in_utc_or_refused(text: str) -> None:
    try:
        moment = read_moment(text)
    except ValueError as error:
        assert str(error).startswith("a day such as")  # noqa: PT017
    else:
        assert moment.tzinfo is UTC
