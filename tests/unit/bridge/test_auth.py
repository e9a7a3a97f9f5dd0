"""Who is let in: every endpoint with every kind of key, what the cache of keys keeps, and that uses are noted."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import httpx2
import pytest
from fastapi.routing import APIRoute

from pipeline_bridge.app import BridgeApp
from pipeline_bridge.description import scopes_of
from pipeline_bridge.key_cache import KeyCache
from pipeline_bridge.key_uses import KeyUses
from pipeline_bridge.paths import PREFIX
from pipeline_bridge.routes import health
from pipeline_core.api_keys import Scope, make_key
from pipeline_core.store.api_keys import ApiKey
from pipeline_core.store.errors import StoreUnavailableError
from support.bridge import PEPPER, Bridge, FakeKeys, settings
from support.operator_world import T0

# What each endpoint needs; a new one has to be added here.
SCOPES = {
    ("POST", "/pipelines/run/{org}/{provider}/{domain}/{pipeline}"): "run",
    ("POST", "/pipelines/cancel/{org}/{run_id}"): "run",
    ("GET", "/pipelines/status/{org}/{run_id}"): "read",
    ("GET", "/pipelines/history/{org}"): "read",
    ("GET", "/pipelines/events/{org}/{run_id}"): "read",
    ("GET", "/pipelines/logs/{org}/{run_id}"): "read",
    ("GET", "/scheduler/queue"): "read",
    ("POST", "/scheduler/trigger"): "run",
    ("POST", "/scheduler/schedule"): "schedule",
    ("PUT", "/scheduler/schedule/{schedule_id}"): "schedule",
    ("DELETE", "/scheduler/schedule/{schedule_id}"): "schedule",
    ("POST", "/scheduler/backfill/{schedule_id}"): "schedule",
    ("GET", "/scheduler/backfill/{schedule_id}"): "schedule",
    ("PUT", "/scheduler/backfill/{schedule_id}"): "schedule",
    ("DELETE", "/scheduler/backfill/{schedule_id}"): "schedule",
    ("GET", "/validator/pipelines"): None,
    ("GET", "/validator/pipelines/{provider}"): None,
}
FILLED = {
    "provider": "gcp",
    "domain": "cost",
    "pipeline": "billing",
    "run_id": "run_0f8c1e5b7a924d06b3d1c2a4e6f80917",
    "schedule_id": "sch_7c9e6679742540de944be07fc1f90ae7",
}


@dataclass(frozen=True)
class Endpoint:
    """One operation of the application."""

    method: str
    path: str
    scope: Scope | None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def at(self, org: str = "acme", prefix: str = PREFIX) -> tuple[str, str]:
        """What to ask for, the parameters of the path filled in."""
        return self.method, prefix + self.path.format(org=org, **FILLED)


def endpoints() -> Iterator[Endpoint]:
    probes = {route.path for route in health.router.routes}
    for route in BridgeApp().routes:
        if isinstance(route, APIRoute) and route.path not in probes:
            for method in route.methods or ():
                (scope,) = scopes_of(route) or [None]
                yield Endpoint(method, route.path, scope and Scope(scope))


ALL = list(endpoints())
KEYED = [each for each in ALL if each.scope is not None]
OF_AN_ORGANIZATION = [each for each in KEYED if "{org}" in each.path]


@pytest.fixture
def bridge() -> Bridge:
    return Bridge()


def reason(answer: httpx2.Response) -> str:
    return str(answer.json()["type"]).rpartition(":")[2]


def is_let_in(answer: httpx2.Response) -> bool:
    """Whatever else is wrong with the request."""
    return answer.status_code < 500 and answer.status_code not in {401, 403}


def test_the_endpoints_and_what_they_need() -> None:
    assert {(each.method, each.path): each.scope for each in ALL} == SCOPES


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("endpoint", KEYED, ids=str)
async def test_without_a_valid_key(bridge: Bridge, endpoint: Endpoint, prefix: str) -> None:
    right = bridge.key(*Scope)
    unknown = make_key(PEPPER.encode()).text
    given = {
        "none": {},
        "empty": {"X-API-Key": ""},
        "malformed": {"X-API-Key": "plk_"},
        "another scheme": {"Authorization": f"Bearer {right}"},
        "unknown": {"X-API-Key": unknown},
        "a wrong secret": {"X-API-Key": right[:-43] + unknown[-43:]},
        "of another pepper": {"X-API-Key": make_key(b"another").text},
        "with more behind it": {"X-API-Key": f"{right}x"},
        "revoked": {"X-API-Key": bridge.key(*Scope, revoked_at=T0)},
        "expired": {"X-API-Key": bridge.key(*Scope, expires_at=T0)},
    }
    bodies = set()
    async with bridge.client() as client:
        for name, headers in given.items():
            answer = await client.request(*endpoint.at(prefix=prefix), headers={**headers, "X-Request-Id": "r"})
            assert (answer.status_code, reason(answer)) == (401, "not-authenticated"), name
            assert answer.headers["www-authenticate"] == 'ApiKey realm="pipelines", header="X-API-Key"'
            bodies.add(answer.text)
    assert len(bodies) == 1, "why a key isn't valid stays unsaid"


@pytest.mark.parametrize("endpoint", KEYED, ids=str)
async def test_two_keys_are_none(bridge: Bridge, endpoint: Endpoint) -> None:
    headers = [("X-API-Key", bridge.key(*Scope)), ("X-API-Key", bridge.key(*Scope))]
    async with bridge.client() as client:
        assert (await client.request(*endpoint.at(), headers=headers)).status_code == 401


@pytest.mark.parametrize("endpoint", OF_AN_ORGANIZATION, ids=str)
async def test_another_organization(bridge: Bridge, endpoint: Endpoint) -> None:
    bridge.plans.limits["globex"] = bridge.plans.limits["acme"]
    for scopes in ((), (Scope.ADMIN,), tuple(Scope)):
        async with bridge.client(bridge.key(*scopes)) as client:
            answer = await client.request(*endpoint.at("globex"))
            assert (answer.status_code, reason(answer)) == (403, "other-organization")
    assert not bridge.kubernetes.calls
    assert not bridge.records.rows


@pytest.mark.parametrize("endpoint", KEYED, ids=str)
async def test_a_scope_that_is_missing(bridge: Bridge, endpoint: Endpoint) -> None:
    others = [scope for scope in Scope if scope not in {endpoint.scope, Scope.ADMIN}]
    for scopes in ((), *((scope,) for scope in others), tuple(others)):
        async with bridge.client(bridge.key(*scopes)) as client:
            answer = await client.request(*endpoint.at())
        assert (answer.status_code, reason(answer)) == (403, "scope-missing")
        assert f"'{endpoint.scope}'" in answer.json()["detail"]
    assert not bridge.kubernetes.calls
    assert not bridge.records.rows


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("endpoint", KEYED, ids=str)
async def test_the_right_scope(bridge: Bridge, endpoint: Endpoint, prefix: str) -> None:
    assert endpoint.scope is not None
    for scopes in ((endpoint.scope,), (Scope.ADMIN,), tuple(Scope)):
        async with bridge.client(bridge.key(*scopes, expires_at=T0 + timedelta(seconds=1))) as client:
            answer = await client.request(*endpoint.at(prefix=prefix))
        assert is_let_in(answer), answer.text
        assert answer.headers["ratelimit-policy"] == '"key";q=600;w=60'


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("endpoint", [each for each in ALL if each.scope is None], ids=str)
async def test_endpoints_that_need_no_key(bridge: Bridge, endpoint: Endpoint, prefix: str) -> None:
    async with bridge.client() as client:
        assert (await client.request(*endpoint.at(prefix=prefix))).status_code == 200
    assert not bridge.keys.asked


@pytest.mark.parametrize("endpoint", ALL, ids=str)
async def test_an_unknown_query_parameter_is_refused_by_name(bridge: Bridge, endpoint: Endpoint) -> None:
    async with bridge.client(bridge.key(*Scope)) as client:
        answer = await client.request(*endpoint.at(), params={"colour": "blue"})
    assert (answer.status_code, reason(answer)) == (422, "request-invalid")
    assert [each["field"] for each in answer.json()["errors"]] == ["colour"]


@pytest.mark.parametrize("endpoint", KEYED, ids=str)
async def test_whose_key_it_is_comes_before_what_is_asked(bridge: Bridge, endpoint: Endpoint) -> None:
    async with bridge.client() as client:
        method, path = endpoint.at()
        answer = await client.request(method, path, params={"colour": "blue"}, content=b"{" if method != "GET" else b"")
    assert answer.status_code == 401


async def test_a_key_ends_while_it_is_kept(bridge: Bridge) -> None:
    key = bridge.key(Scope.READ, expires_at=T0 + timedelta(seconds=2))
    async with bridge.client(key) as client:
        assert (await client.get("/pipelines/history/acme")).status_code == 200
        bridge.time += timedelta(seconds=2)
        assert (await client.get("/pipelines/history/acme")).status_code == 401
    assert len(bridge.keys.asked) == 1


async def test_what_a_key_is_refused_is_limited_as_what_it_may_is(bridge: Bridge) -> None:
    async with bridge.client(bridge.key(Scope.READ, requests_per_minute=4)) as client:
        statuses = []
        for method, path in [("GET", "/pipelines/history/globex"), ("POST", "/pipelines/cancel/acme/run_1")] * 3:
            answer = await client.request(method, path)
            statuses.append(answer.status_code)
            assert answer.headers["ratelimit-policy"] == '"key";q=4;w=60'
    assert statuses == [403] * 4 + [429] * 2


async def test_the_store_is_away(bridge: Bridge) -> None:
    def fault(_method: str) -> None:
        raise StoreUnavailableError("PostgreSQL is unavailable: connection to 10.0.0.7 refused")

    bridge.keys.fault = fault
    async with bridge.client(bridge.key(Scope.READ)) as client:
        answer = await client.get("/pipelines/history/acme")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "10.0.0.7" not in answer.text


def stored(key_id: str) -> ApiKey:
    return ApiKey(key_id, "acme", "test", frozenset(), b"", T0)


class Clock:
    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


async def test_known_and_unknown_keys_are_kept_for_a_while() -> None:
    keys, clock = FakeKeys(), Clock()
    keys.rows["a"] = stored("a")
    cache = KeyCache(keys.get, 5.0, clock)
    for _ in range(3):
        assert await cache.get("a") == keys.rows["a"]
        assert await cache.get("b") is None
    assert keys.asked == ["a", "b"]
    keys.rows["b"] = keys.rows.pop("a")
    clock.time += 4.9
    assert await cache.get("b") is None
    clock.time += 0.1
    assert await cache.get("a") is None
    assert await cache.get("b") is not None
    assert keys.asked == ["a", "b", "a", "b"]


async def test_a_key_is_as_old_as_the_question() -> None:
    clock = Clock()

    async def slow(_key_id: str) -> ApiKey | None:
        clock.time += 4.0
        return stored("a")

    cache = KeyCache(slow, 5.0, clock)
    await cache.get("a")
    clock.time += 1.0
    before = clock.time
    await cache.get("a")
    assert clock.time == before + 4.0, "asked anew"


async def test_junk_neither_fills_the_memory_nor_pushes_out_keys() -> None:
    keys = FakeKeys()
    keys.rows["a"] = stored("a")
    cache = KeyCache(keys.get, 5.0, Clock(), most=10)
    await cache.get("a")
    for number in range(1000):
        await cache.get(f"junk{number}")
    await cache.get("a")
    assert keys.asked.count("a") == 1
    assert len(cache._unknown) == 10


async def test_keys_are_not_kept_where_they_should_not_be() -> None:
    bridge = Bridge(settings=settings(key_cache_seconds=0))
    key = bridge.key(Scope.READ)
    async with bridge.client(key) as client:
        assert (await client.get("/pipelines/history/acme")).status_code == 200
        bridge.keys.rows.clear()
        assert (await client.get("/pipelines/history/acme")).status_code == 401


async def test_uses_are_written_once_for_each_key(bridge: Bridge) -> None:
    key = bridge.key(Scope.READ)
    async with bridge.client(key) as client:
        for _ in range(3):
            await client.get("/pipelines/history/acme")
    assert not bridge.keys.uses
    await bridge.app.state.gate.uses.write()
    await bridge.app.state.gate.uses.write()
    assert bridge.keys.uses == [frozenset({key[4:20]})]


async def test_a_key_that_is_refused_was_not_used(bridge: Bridge) -> None:
    async with bridge.client(bridge.key(Scope.RUN, revoked_at=T0)) as client:
        await client.get("/pipelines/history/acme")
    await bridge.app.state.gate.uses.write()
    assert not bridge.keys.uses


async def test_uses_that_cannot_be_written_harm_nobody() -> None:
    keys = FakeKeys()
    uses = KeyUses(keys)

    def fault(_method: str) -> None:
        raise StoreUnavailableError("away")

    keys.fault = fault
    uses.note("a")
    await uses.write()
    keys.fault = lambda _method: None
    uses.note("b")
    task = asyncio.create_task(uses.write_forever(3600))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert keys.uses == [frozenset({"b"})], "what was noted is written when the process stops"


def test_a_principal_and_a_key_show_no_secret(bridge: Bridge) -> None:
    text = bridge.key(Scope.READ)
    (row,) = bridge.keys.rows.values()
    assert text[21:] not in repr(row)
    assert repr(row.digest) not in repr(row)
