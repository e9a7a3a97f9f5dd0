"""Asks a simulated provider without a server, and reads its answers as exactly as they are written."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pipeline_local.simulators import anthropic, numbers, openai
from pipeline_local.simulators.answers import Answer, Request
from pipeline_local.simulators.plan import Kind, Plan
from pipeline_local.simulators.server import ANTHROPIC_KEY, OPENAI_KEY
from pipeline_local.simulators.world import World

NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
DAY = date(2026, 10, 5)
OPENAI = {"authorization": f"Bearer {OPENAI_KEY}"}
ANTHROPIC = {"x-api-key": ANTHROPIC_KEY, "anthropic-version": "2023-06-01"}

Document = dict[str, Any]


def world(seed: int = 7, **plan: Any) -> World:
    """A world whose time stands still."""
    return World(seed, Plan(**plan), lambda: NOW)


def unix(day: date) -> str:
    return str(int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()))


def window(provider: str, first: date, last: date) -> list[tuple[str, str]]:
    """The parameters of a window, both days included."""
    end = last + timedelta(days=1)
    if provider == "openai":
        return [("start_time", unix(first)), ("end_time", unix(end))]
    return [("starting_at", f"{first}T00:00:00Z"), ("ending_at", f"{end}T00:00:00Z")]


def ask(
    of: World,
    path: str,
    pairs: list[tuple[str, str]],
    headers: Mapping[str, str] | None = None,
    fault: Kind | None = None,
) -> Answer:
    """The answer to a GET; whose it is, the path tells. Without headers: those of a good key."""
    service, own = (openai, OPENAI) if path.startswith("/v1/organization/") else (anthropic, ANTHROPIC)
    request = Request(path, pairs, own if headers is None else headers, of, of.plan, of.now(), fault)
    made: Answer = service.answer(request)
    return made


def document(answer: Answer) -> Document:
    """What a client reads, its numbers exact."""
    assert answer.status == 200, answer
    read: Document = json.loads(numbers.dumps(answer.document), parse_float=Decimal)
    return read


def pages(of: World, path: str, pairs: list[tuple[str, str]]) -> Iterator[Document]:
    """All pages of a query."""
    page: list[tuple[str, str]] = []
    while True:
        read = document(ask(of, path, [*pairs, *page]))
        yield read
        if not read["has_more"]:
            assert read["next_page"] is None
            return
        page = [("page", read["next_page"])]


def results(of: World, path: str, pairs: list[tuple[str, str]]) -> list[Document]:
    """The results of all buckets of all pages."""
    return [each for page in pages(of, path, pairs) for bucket in page["data"] for each in bucket["results"]]
