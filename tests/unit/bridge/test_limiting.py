"""How often a key may ask, and an address fail: windows, headers, and whom a limit doesn't hold up."""

import re
import time

import pytest

from pipeline_bridge.limiting import FAILURES_PER_MINUTE, RateLimit, client_of
from pipeline_core.api_keys import Scope
from support.bridge import Bridge, app_client, settings

HISTORY = "/pipelines/history/acme"


class Clock:
    def __init__(self) -> None:
        self.time = time.time()

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("limits.aio.storage.memory.time.time", clock)
    return clock


async def test_a_window_slides(clock: Clock) -> None:
    limit = RateLimit("key", clock)
    assert [(await limit.take("a", 3)).is_allowed for _ in range(5)] == [True, True, True, False, False]
    assert (await limit.take("b", 3)).is_allowed
    clock.time += 121
    assert (await limit.take("a", 3)).is_allowed


async def test_what_is_left_is_told(clock: Clock) -> None:
    limit = RateLimit("key", clock)
    told = [dict((await limit.take("a", 2)).headers) for _ in range(3)]
    assert {each[b"ratelimit-policy"] for each in told} == {b'"key";q=2;w=60'}
    remaining = [re.fullmatch(rb'"key";r=(\d+);t=([1-9]\d*)', each[b"ratelimit"]) for each in told]
    assert [match and int(match[1]) for match in remaining] == [1, 0, 0]


async def test_every_answer_to_a_key_tells_its_limit() -> None:
    bridge = Bridge(settings=settings(requests_per_minute=50))
    async with bridge.client(bridge.key(Scope.READ)) as client:
        for path in (HISTORY, "/pipelines/status/acme/run_1", f"{HISTORY}?limit=x"):
            answer = await client.get(path)
            assert answer.headers["ratelimit-policy"] == '"key";q=50;w=60'
            assert answer.headers["ratelimit"].startswith('"key";r=4')
    async with bridge.client() as client:
        assert "ratelimit" not in (await client.get(HISTORY)).headers


async def test_a_key_that_asks_too_often() -> None:
    bridge = Bridge(settings=settings(requests_per_minute=2))
    other = bridge.key(Scope.READ, requests_per_minute=1000)
    async with bridge.client(bridge.key(Scope.READ)) as client:
        answers = [await client.get(HISTORY) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    refused = answers[-1]
    assert refused.json()["type"] == "urn:pipelines:problem:rate-limited"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit-policy"] == '"key";q=2;w=60'
    async with bridge.client(other) as client:
        answers = [await client.get(HISTORY) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}, "another key has its own"


async def test_whoever_guesses_keys_is_slowed_down_and_hinders_nobody() -> None:
    bridge = Bridge()
    right = bridge.key(Scope.READ)
    wrong = right[:-1] + ("x" if right[-1] != "x" else "y")
    async with bridge.client(wrong) as client:
        statuses = [(await client.get(HISTORY)).status_code for _ in range(FAILURES_PER_MINUTE + 2)]
        refused = await client.get(HISTORY)
    assert statuses == [401] * FAILURES_PER_MINUTE + [429] * 2
    assert refused.headers["ratelimit-policy"] == f'"failed-authentication";q={FAILURES_PER_MINUTE};w=60'
    assert int(refused.headers["retry-after"]) >= 1
    async with bridge.client(right) as client:
        assert (await client.get(HISTORY)).status_code == 200, "a right key from the same address passes"


async def test_a_request_without_a_key_counts_as_a_failure() -> None:
    bridge = Bridge()
    async with bridge.client() as client:
        statuses = [(await client.get(HISTORY)).status_code for _ in range(FAILURES_PER_MINUTE + 1)]
    assert statuses[-1] == 429


async def test_a_key_without_the_scope_does_not_count_against_the_limit_of_others() -> None:
    bridge = Bridge()
    async with app_client(bridge.app, bridge.key()) as client:
        statuses = {(await client.get(HISTORY)).status_code for _ in range(FAILURES_PER_MINUTE + 5)}
    assert statuses == {403}, "it is a valid key"


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_a_client_is_an_address_or_a_network(host: str, client: str) -> None:
    assert client_of(host) == client
