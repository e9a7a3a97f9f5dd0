"""A client of a paginated API with a clock that tests turn, and the two dialects that there are."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
from pydantic import SecretStr

from pipeline_runner.api.client import ApiClient, RateLimits
from pipeline_runner.api.clock import Clock
from pipeline_runner.api.dialect import RFC3339, UNIX_SECONDS, Dialect
from pipeline_runner.settings import ApiSettings

_HOSTS = ["http://api.example", "http://api.example.invalid", "http://127.0.0.1:*"]
KEY = "sk-admin-0123456789abcdefSECRET"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)

UNIX = Dialect(UNIX_SECONDS, "start_time", "end_time", "start_time", "end_time")
RFC = Dialect(RFC3339, "starting_at", "ending_at", "starting_at", "ending_at")

Respond = Callable[[httpx2.Request], Awaitable[httpx2.Response]]


@dataclass
class TestClock:
    """Time passes by sleeping alone; sleepers of the same moment wake together, and only once `let_go` is set, if it is
    there. `chance` is always the highest.
    """

    __test__ = False

    elapsed: float = 0.0
    sleeps: list[float] = field(default_factory=list)
    chance: float = 1.0
    let_go: asyncio.Event | None = None

    @property
    def clock(self) -> Clock:
        return Clock(
            monotonic=lambda: self.elapsed,
            now=lambda: NOW + timedelta(seconds=self.elapsed),
            sleep=self.sleep,
            chance=lambda: self.chance,
        )

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        wakes_at = self.elapsed + seconds
        await (self.let_go.wait() if self.let_go else asyncio.sleep(0))
        self.elapsed = max(self.elapsed, wakes_at)


def api_client(
    respond: Respond | None = None,
    *,
    base_url: str = "http://api.example",
    clock: TestClock | None = None,
    at_once: int = 4,
    key: str = KEY,
    settings: dict[str, Any] | None = None,
) -> ApiClient:
    """A client that asks `respond`, or where there is none the network."""
    return ApiClient(
        name="OpenAI",
        base_url=base_url,
        headers={},
        secret_headers={"Authorization": SecretStr(f"Bearer {key}")},
        limits=RateLimits(at_once=at_once),
        settings=ApiSettings(**{"hosts": _HOSTS, **(settings or {})}),
        key_kind="an admin key (sk-admin-…)",
        clock=(clock or TestClock()).clock,
        transport=httpx2.MockTransport(respond) if respond else None,
    )


def scripted(*answers: httpx2.Response | Exception) -> tuple[Respond, list[httpx2.Request]]:
    """One answer after the other, the last for ever; and the requests that came."""
    requests: list[httpx2.Request] = []

    async def respond(request: httpx2.Request) -> httpx2.Response:
        answer = answers[min(len(requests), len(answers) - 1)]
        requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    return respond, requests


def page(found: Sequence[dict[str, Any]], *, more: object = False, cursor: object = None) -> dict[str, Any]:
    """An answer in the envelope that both dialects have."""
    return {"object": "page", "data": list(found), "has_more": more, "next_page": cursor}


def entry(dialect: Dialect, start: datetime, width: timedelta, results: Sequence[Any] = ()) -> dict[str, Any]:
    """A bucket as the dialect writes it."""

    def written(moment: datetime) -> object:
        text = dialect.times.write(moment)
        return int(text) if dialect is UNIX else text

    return {
        dialect.start_field: written(start),
        dialect.end_field: written(start + width),
        dialect.results_field: list(results),
    }


def ok(body: object) -> httpx2.Response:
    return httpx2.Response(200, content=json.dumps(body).encode())
