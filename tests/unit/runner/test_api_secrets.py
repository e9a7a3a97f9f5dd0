"""A key reaches the provider and nothing else: no error, no traceback, no log line, no repr."""

import json
import logging
import traceback
from collections.abc import Iterator

import httpx2
import pytest
from structlog.testing import capture_logs

from pipeline_runner import masking
from pipeline_runner.errors import ConfigError, ProcessorError
from support.api_client import KEY, api_client, ok, scripted
from support.raw_http_server import RawServer, answer, hang_up


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    masking.forget()
    yield
    masking.forget()


ECHO = f"you sent Authorization: Bearer {KEY}, that is {KEY} or sk-admin-01*****CRET"


def told(error: BaseException) -> str:
    """All that a handler of the error could print: the chain, and its frames' variables but for the test's own."""
    assert error.__traceback__ is not None
    trace = traceback.TracebackException(type(error), error, error.__traceback__.tb_next, capture_locals=True)
    return "".join(trace.format()) + repr(error) + repr(error.__context__) + repr(error.__cause__)


@pytest.mark.parametrize(
    "response",
    [
        httpx2.Response(401, content=json.dumps({"error": {"message": ECHO, "type": ECHO}}).encode()),
        httpx2.Response(400, content=json.dumps({"error": ECHO, "request_id": KEY}).encode()),
        httpx2.Response(400, content=ECHO.encode()),
        httpx2.Response(404, content=("<p>" + "x" * 490 + KEY).encode()),
        httpx2.Response(200, content=("{" + ECHO).encode()),
        httpx2.Response(200, content=("{" + "x" * 90 + KEY).encode()),
        httpx2.Response(429, headers={"retry-after": "500"}, content=ECHO.encode()),
        httpx2.Response(503, headers={"x-request-id": KEY}, content=b'{"error": {"message": "busy"}}'),
        httpx2.Response(302, headers={"location": f"https://elsewhere.example/?key={KEY}"}),
        httpx2.ConnectError(ECHO),
        httpx2.RemoteProtocolError(ECHO),
    ],
)
async def test_whatever_fails_the_key_stays_unsaid(
    response: httpx2.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    respond, requests = scripted(response)
    with capture_logs() as lines:
        async with api_client(respond) as client:
            with pytest.raises(ProcessorError) as caught:
                await client.get("/v1/costs", [("page", "x")])
    assert requests[0].headers["Authorization"] == f"Bearer {KEY}"
    said = told(caught.value) + caplog.text + repr(lines) + repr(client) + repr(vars(client))
    assert KEY not in said
    # Nor a part of it that would be worth having.
    assert KEY[9:25] not in said
    assert "CRET" not in said.replace("SECRET", "")


async def test_over_a_real_connection_the_libraries_log_no_key(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with RawServer(hang_up, answer(b"{}")) as server:
        async with api_client(base_url=server.url) as client:
            await client.get("/v1/costs", [])
        assert KEY in server.requests[1]
    assert any(record.name.startswith("httpcore2") for record in caplog.records)
    assert KEY not in caplog.text


@pytest.mark.parametrize("key", ["sk-admin-x\nHost: evil", "sk-admin-é", "", "sk\tadmin", "sk-admin-x\r"])
def test_a_key_that_no_header_can_carry_is_refused_without_it(key: str) -> None:
    with pytest.raises(ConfigError, match="the credential for the header Authorization: expected printable") as caught:
        api_client(key=key)
    said = told(caught.value).replace("api_client(key=key)", "")
    assert "evil" not in str(caught.value)
    assert "é" not in str(caught.value)
    assert caught.value.__context__ is None, said


async def test_a_success_says_nothing_at_all(caplog: pytest.LogCaptureFixture) -> None:
    respond, _ = scripted(ok({}))
    with capture_logs() as lines:
        async with api_client(respond) as client:
            await client.get("/v1/costs", [])
    assert lines == []
