"""The client asks again where that helps, no sooner than it may, and says why where it gives up."""

import asyncio
import gzip
import json
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from pipeline_runner.api.client import ApiClient
from pipeline_runner.api.outcomes import OversizedError
from pipeline_runner.errors import ConfigError, DataError, TransientError
from pipeline_runner.settings import api_settings
from support.api_client import KEY, TestClock, api_client, ok, scripted
from support.raw_http_server import Answer, RawServer, answer, hang_up, trickle
from support.waiting import eventually

GOOD = b'{"data": [], "amount": 0.1000000000000000055}'


def openai_error(message: str, code: str | None = "rate_limit_exceeded") -> bytes:
    return json.dumps({"error": {"message": message, "type": "requests", "param": None, "code": code}}).encode()


def refusal(status: int, body: bytes = b"", **headers: str) -> httpx2.Response:
    return httpx2.Response(
        status, headers={name.replace("_", "-"): value for name, value in headers.items()}, content=body
    )


async def ask(*answers: httpx2.Response | Exception, clock: TestClock | None = None, **settings: Any) -> int:
    """Get one object; how many requests that took."""
    respond, _ = scripted(*answers)
    async with api_client(respond, clock=clock, settings=settings) as client:
        await client.get("/v1/costs", [])
        return client.requests_made


# Over a real connection.


@pytest.mark.parametrize(
    "bad",
    [
        answer(GOOD[:20], length=len(GOOD)),
        answer(GOOD[:20], length=len(GOOD), reset=True),
        answer(GOOD[:20]),
        answer(b""),
        answer(b"<html><body>Bad gateway</body></html>"),
        answer(b"\xff\xfe{"),
        answer(b"[" * 200_000),
        answer(b'{"amount": NaN}'),
        answer(b'{"amount": 1e99999999999999999999}'),
        answer(b'{"amount": ' + b"9" * 5_000 + b"}"),
        answer(gzip.compress(GOOD)[:-10], "200 OK", "Content-Encoding: gzip"),
        answer(b"not gzip", "200 OK", "Content-Encoding: gzip"),
        answer(b"", "503 Service Unavailable"),
        answer(b"oops", "500 Internal Server Error", length=100, reset=True),
        hang_up,
    ],
)
async def test_what_a_bad_connection_brings_is_asked_for_again(bad: Answer) -> None:
    async with RawServer(bad, bad, answer(GOOD)) as server, api_client(base_url=server.url) as client:
        assert await client.get("/v1/costs", []) == {"data": [], "amount": Decimal("0.1000000000000000055")}
        assert client.requests_made == len(server.requests) == 3


async def test_nobody_listens() -> None:
    async with RawServer(answer(GOOD)) as server:
        url = server.url
    async with api_client(base_url=url) as client:
        with pytest.raises(TransientError, match=r"OpenAI: GET /v1/costs: ConnectError: .*; tried 1[0-9] times in 2"):
            await client.get("/v1/costs", [])


async def test_the_key_and_the_query_arrive_and_the_base_may_have_a_path() -> None:
    async with RawServer(answer(gzip.compress(GOOD), "200 OK", "Content-Encoding: gzip")) as server:
        async with api_client(base_url=f"{server.url}/openai/") as client:
            await client.get("/v1/costs", [("group_by[]", "a"), ("group_by[]", "b c"), ("page", "x+/=&")])
        line, *headers = server.requests[0].split("\r\n")
    assert line == "GET /openai/v1/costs?group_by%5B%5D=a&group_by%5B%5D=b+c&page=x%2B%2F%3D%26 HTTP/1.1"
    assert f"Authorization: Bearer {KEY}" in headers
    assert any(each.startswith("User-Agent: pipelines/") for each in headers)


async def test_an_answer_that_never_ends_is_given_up_in_time() -> None:
    # The time that one answer may take is real here; that between answers is the test's.
    settings = {"answer_seconds": 0.05, "retry_seconds": 0.6}
    async with RawServer(trickle(b" ")) as server, api_client(base_url=server.url, settings=settings) as client:
        with pytest.raises(TransientError, match="TimeoutError; tried 2 times"):
            await client.get("/v1/costs", [])


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    asked = asyncio.Event()

    async def silent(_: asyncio.StreamWriter) -> None:
        await asked.wait()

    settings = {"read_seconds": 0.05, "retry_seconds": 0.6}
    async with RawServer(silent) as server, api_client(base_url=server.url, settings=settings) as client:
        with pytest.raises(TransientError, match="ReadTimeout; tried 2 times"):
            await client.get("/v1/costs", [])
        asked.set()


@pytest.mark.parametrize(
    "body",
    [
        answer(b" " * 5_000),
        answer(gzip.compress(b" " * 5_000), "200 OK", "Content-Encoding: gzip"),
        trickle(b" " * 500),
    ],
)
async def test_an_oversized_answer_is_an_error_of_the_data(body: Answer) -> None:
    settings = {"max_body_bytes": 4_000}
    async with RawServer(body) as server, api_client(base_url=server.url, settings=settings) as client:
        with pytest.raises(OversizedError, match="the answer is larger than 4000 bytes"):
            await client.get("/v1/costs", [])
        assert client.requests_made == 1


async def test_an_endless_error_page_is_cut() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n")
        while True:
            writer.write(b"<p>nothing here</p>" * 1_000)
            await writer.drain()

    async with RawServer(endless) as server, api_client(base_url=server.url) as client:
        with pytest.raises(ConfigError, match=r"404: nothing here nothing here .* …$") as caught:
            await client.get("/v1/costs", [])
    assert len(str(caught.value)) < 700


async def test_no_proxy_leads_to_the_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    async with RawServer(answer(GOOD)) as server, RawServer(answer(GOOD)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        async with api_client(base_url=server.url) as client:
            await client.get("/v1/costs", [])
        assert (len(server.requests), len(proxy.requests)) == (1, 0)
        async with api_client(base_url="http://api.example.invalid") as client:
            await client.get("/v1/costs", [])
        assert (len(server.requests), len(proxy.requests)) == (1, 1)


async def test_a_redirect_isnt_followed() -> None:
    async with RawServer(answer(GOOD)) as elsewhere:
        moved = answer(b"", "307 Temporary Redirect", f"Location: {elsewhere.url}/v1/costs")
        async with RawServer(moved) as server, api_client(base_url=server.url) as client:
            with pytest.raises(ConfigError, match=r"source\.base_url: .* answered 307, a redirect to 'http://127"):
                await client.get("/v1/costs", [])
        assert elsewhere.requests == []


# How long it waits.


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"retry_after_ms": "700"}, 0.7),
        ({"retry_after": "9"}, 9.0),
        ({"retry_after": "Mon, 02 Mar 2026 12:00:30 GMT"}, 30.0),
        ({"x_ratelimit_reset_requests": "1m2s"}, 62.0),
        ({"anthropic_ratelimit_requests_reset": "2026-03-02T12:00:44Z"}, 44.0),
        ({"retry_after": "nonsense"}, 0.5),
        ({"retry_after": "0"}, 0.5),
        ({}, 0.5),
    ],
)
async def test_it_waits_as_long_as_it_is_asked_to(headers: dict[str, str], wait: float) -> None:
    clock = TestClock()
    assert await ask(refusal(429, b"", **headers), ok({}), clock=clock) == 2
    assert clock.sleeps == [wait]


async def test_it_backs_off_where_nothing_is_said() -> None:
    clock = TestClock()
    assert await ask(*(refusal(500) for _ in range(4)), httpx2.ConnectTimeout("slow"), ok({}), clock=clock) == 6
    assert clock.sleeps == [0.5, 1, 2, 4, 8]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
async def test_it_gives_up_after_the_time_for_it(status: int) -> None:
    clock = TestClock()
    tried = r"tried \d+ times in 2\d\d s, of at most 240 s"
    with pytest.raises(TransientError, match=rf"GET /v1/costs: {status}: an empty body; {tried}"):
        await ask(refusal(status), clock=clock, **LIMITS)
    assert 210 <= clock.elapsed <= 240


async def test_a_provider_that_always_asks_for_nothing_isnt_hammered() -> None:
    clock = TestClock()
    respond, requests = scripted(refusal(429, b"", retry_after_ms="1"))
    async with api_client(respond, clock=clock) as client:
        with pytest.raises(TransientError, match=r"asks to wait 0\.0 s \(retry-after-ms\)"):
            await client.get("/v1/costs", [])
    assert len(requests) < 20


async def test_the_time_that_answers_take_counts() -> None:
    clock = TestClock()

    async def slow(_: httpx2.Request) -> httpx2.Response:
        clock.elapsed += 59
        raise httpx2.ReadTimeout("slow")

    async with api_client(slow, clock=clock) as client:
        with pytest.raises(TransientError, match="tried 4 times in 240 s"):
            await client.get("/v1/costs", [])


LIMITS = {"retry_seconds": 240, "max_wait_seconds": 900}


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"retry_after": "901"}, r"asks to wait 901\.0 s \(retry-after\)"),
        ({"retry_after": "9" * 30}, r"asks to wait 31622400\.0 s \(retry-after\)"),
        ({"x_ratelimit_reset_requests": "16m0s"}, r"asks to wait 960\.0 s \(x-ratelimit-reset-requests\)"),
    ],
)
async def test_it_doesnt_wait_longer_than_is_sensible(headers: dict[str, str], said: str) -> None:
    clock = TestClock()
    slow_down = r"429: Slow down \(requests, rate_limit_exceeded\); tried 1 time in 0 s, of at most 240 s, and 900 s "
    with pytest.raises(TransientError, match=slow_down + "where the provider asks for them; the provider " + said):
        await ask(refusal(429, openai_error("Slow down"), **headers), clock=clock, **LIMITS)
    assert clock.sleeps == []


async def test_waits_that_the_provider_asks_for_take_nothing_from_our_own_patience() -> None:
    clock = TestClock()
    # Six minutes are what OpenAI's own example of a reset says.
    asked = refusal(429, b"", x_ratelimit_reset_requests="6m0s")
    assert await ask(asked, refusal(503), asked, refusal(503), ok({}), clock=clock, **LIMITS) == 5
    assert clock.sleeps == [360, 1, 360, 4]


async def test_waits_that_the_provider_asks_for_are_bounded_in_all() -> None:
    clock = TestClock()
    with pytest.raises(TransientError, match=r"tried 3 times in 800 s, .*; the provider asks to wait 400\.0 s"):
        await ask(refusal(503, b"", retry_after="400"), clock=clock, **LIMITS)
    assert clock.sleeps == [400, 400]


# The gate.


async def test_one_that_is_told_to_slow_down_stops_all() -> None:
    clock = TestClock(let_go=asyncio.Event())
    asked, finish = list[str](), {path: asyncio.Event() for path in "012345"}

    async def respond(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path[1:])
        await finish[asked[-1]].wait()
        return refusal(429, b"", retry_after="30") if asked.count("0") == 1 and request.url.path == "/0" else ok({})

    async def so_far(requests: int, sleepers: int) -> bool:
        return (len(asked), len(clock.sleeps)) == (requests, sleepers)

    async with api_client(respond, clock=clock, at_once=2) as client:
        running = asyncio.gather(*(client.get(f"/{path}", []) for path in "012345"))
        await eventually(lambda: so_far(2, 0))
        finish["0"].set()
        await eventually(lambda: so_far(2, 1))
        # What was under way already is let through; what comes after it isn't.
        finish["1"].set()
        await eventually(lambda: so_far(2, 2))
        assert clock.sleeps == [30, 30]
        for each in (*finish.values(), clock.let_go):
            assert each is not None
            each.set()
        await running
    assert sorted(asked[2:]) == ["0", "2", "3", "4", "5"]


async def test_an_error_of_one_request_alone_doesnt_stop_the_others() -> None:
    clock, asked_at = TestClock(), dict[str, list[float]]()

    async def respond(request: httpx2.Request) -> httpx2.Response:
        asked_at.setdefault(request.url.path, []).append(clock.elapsed)
        if request.url.path == "/bad" and len(asked_at["/bad"]) == 1:
            return refusal(503, b"", retry_after="30")
        return ok({})

    async with api_client(respond, clock=clock, at_once=2) as client:
        await asyncio.gather(client.get("/bad", []), client.get("/good", []))
    assert asked_at == {"/bad": [0.0, 30.0], "/good": [0.0]}


async def test_a_wait_that_is_too_long_ends_all_of_them() -> None:
    respond, requests = scripted(refusal(429, openai_error("Slow down"), retry_after="600"))
    async with api_client(respond, at_once=1, settings={"max_wait_seconds": 500}) as client:
        failures = await asyncio.gather(*(client.get("/v1/x", []) for _ in range(3)), return_exceptions=True)
    assert len(requests) == 1
    assert all(isinstance(failure, TransientError) for failure in failures)
    assert "all requests are to wait 600 s more, since 429: Slow down" in str(failures[1])


async def test_no_more_requests_are_under_way_than_allowed() -> None:
    under_way = most = 0

    async def respond(_: httpx2.Request) -> httpx2.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return ok({})

    async with api_client(respond, at_once=3) as client:
        await asyncio.gather(*(client.get("/v1/x", []) for _ in range(20)))
    assert most == 3


async def test_of_large_answers_one_is_held_at_a_time_and_small_ones_wait_for_none() -> None:
    sizes, held = {"/large": 2_000, "/small": 900}, list[str]()
    done = {path: asyncio.Event() for path in ("a", "b", "c", "d")}

    async def respond(request: httpx2.Request) -> httpx2.Response:
        return ok({"padding": "x" * sizes[request.url.path]})

    async def hold(client: ApiClient, path: str, name: str) -> None:
        async with client.answer(path, []) as found:
            assert len(found["padding"]) == sizes[path]
            held.append(name)
            await done[name].wait()

    async def are_held(expected: str) -> bool:
        return "".join(sorted(held)) == expected

    # with four at once, what is larger than a fourth of the largest answer is large
    async with api_client(respond, at_once=4, settings={"max_body_bytes": 4_000}) as client:
        paths = {"a": "/large", "b": "/large", "c": "/small", "d": "/small"}
        running = asyncio.gather(*(hold(client, path, name) for name, path in paths.items()))
        await eventually(lambda: are_held("acd"))
        done["c"].set()
        await asyncio.sleep(0)
        assert await are_held("acd")
        done["a"].set()
        await eventually(lambda: are_held("abcd"))
        done["b"].set()
        done["d"].set()
        await running


async def test_a_large_answer_that_has_to_be_asked_for_again_is_held_by_nobody_meanwhile() -> None:
    # The clock of the first is stopped in its backoff; the second is large as well.
    clock = TestClock(let_go=asyncio.Event())
    respond, _ = scripted(httpx2.Response(200, content=b'{"cut": "' + b"x" * 3_000), ok({"padding": "x" * 3_000}))
    async with api_client(respond, clock=clock, settings={"max_body_bytes": 4_000}) as client:
        first = asyncio.ensure_future(client.get("/v1/costs", []))

        async def waits() -> bool:
            return bool(clock.sleeps)

        await eventually(waits)
        async with asyncio.timeout(5):
            await client.get("/v1/costs", [])
        assert clock.let_go is not None
        clock.let_go.set()
        await first


# What is refused.


ANTHROPIC = json.dumps(
    {"type": "error", "error": {"type": "invalid_request_error", "message": "limit: too large"}, "request_id": "req_9"}
).encode()


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (
            refusal(401, openai_error("Incorrect key", "invalid_api_key"), x_request_id="req_1"),
            "401: Incorrect key (requests, invalid_api_key, request id req_1); expected an admin key (sk-admin-…)",
        ),
        (
            refusal(403, b'{"error": "Missing scopes: api.usage.read"}'),
            "the key is refused: 403: Missing scopes: api.usage.read; expected an admin key (sk-admin-…)",
        ),
        (
            refusal(400, ANTHROPIC, request_id="req_of_the_header"),
            "the request is refused: 400: limit: too large (invalid_request_error, request id req_9)",
        ),
        (refusal(400, openai_error("Bad", None)), "the request is refused: 400: Bad (requests)"),
        (refusal(404, b"<html><style>p{}</style><h1>Not\nfound</h1></html>"), "the request is refused: 404: Not found"),
        (refusal(422, b"\xff\x00\x1b[31m"), "the request is refused: 422: \N{REPLACEMENT CHARACTER} [31m"),
        (refusal(410), "the request is refused: 410: an empty body"),
        (refusal(400, b"[1]"), "the request is refused: 400: [1]"),
        (refusal(400, b'{"error": {}}'), "the request is refused: 400: no message"),
        (
            refusal(429, openai_error("You exceeded your current quota", "insufficient_quota")),
            "the request is refused: 429: You exceeded your current quota (requests, insufficient_quota)",
        ),
        (refusal(302), "a redirect to 'nowhere'; expected the address of the API itself"),
    ],
)
async def test_a_refusal_is_told_in_the_providers_words(response: httpx2.Response, said: str) -> None:
    respond, requests = scripted(response)
    async with api_client(respond) as client:
        with pytest.raises(ConfigError) as caught:
            await client.get("/v1/costs", [])
    assert said in str(caught.value)
    assert "OpenAI: GET /v1/costs" in str(caught.value)
    assert len(requests) == 1


@pytest.mark.parametrize("body", [b"[]", b"7", b'"text"', b"null"])
async def test_json_that_is_no_object_is_an_error_of_the_data(body: bytes) -> None:
    with pytest.raises(DataError, match="expected a JSON object, got"):
        await ask(httpx2.Response(200, content=body))


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_API_RETRY_SECONDS", "60")
    assert api_settings().retry_seconds == 60.0
    monkeypatch.setenv("PIPELINES_API_RETRY_SECONDS", "-1")
    with pytest.raises(ConfigError, match="PIPELINES_API_RETRY_SECONDS: Input should be greater than 0"):
        api_settings()
