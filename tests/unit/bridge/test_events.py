"""Events of a run: at once, at each change, once each, until its end; and streams that leave nothing behind."""

import asyncio
import gc
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from starlette.exceptions import HTTPException

from pipeline_bridge.models.records import PipelineRunStatus, status_body
from pipeline_bridge.problems import Problem
from pipeline_bridge.status_events import event_id, status_events, with_heartbeats
from pipeline_bridge.streams import Stream, Streams
from pipeline_core.api_keys import Scope
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.views import RunStatus
from support.bridge import Bridge, serving, settings
from support.runs import T0, after, new_run
from support.waiting import eventually

PENDING = RunStatus("run_1", Phase.PENDING, 0, None, None, None, None, 1)
RUNNING = RunStatus("run_1", Phase.RUNNING, 10, None, None, T0, None, 2)
HALFWAY = RUNNING._replace(progress=50)
FAILED = RunStatus("run_1", Phase.FAILED, 50, None, "no\nway", T0, after(5), 3)
AWAY = StoreUnavailableError("away")


async def told(first: RunStatus, *then: Any, known: str | None = None) -> list[bytes]:
    """What a stream says where reading gives these, one after the other; an error is raised, None is no record."""
    results = iter(then)

    async def read() -> RunStatus | None:
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    said = [each async for each in status_events(first, read, known=known, poll_seconds=1e-4)]
    assert next(results, "none") == "none"
    return said


def event(run: RunStatus) -> bytes:
    data = json.dumps(status_body(run), separators=(",", ":"))
    return f"id: {run.revision}.{run.progress}\nevent: status\ndata: {data}\n\n".encode()


async def test_each_change_is_told_once_until_the_end() -> None:
    said = await told(PENDING, PENDING, RUNNING, RUNNING, HALFWAY, FAILED)
    assert said == [event(each) for each in (PENDING, RUNNING, HALFWAY, FAILED)]
    assert said[-1].count(b"\n") == 4  # a line break within a message doesn't end the data


async def test_a_run_that_has_ended_is_told_of_and_that_is_all() -> None:
    assert await told(FAILED) == [event(FAILED)]


async def test_what_the_client_knows_isnt_told_again() -> None:
    assert await told(RUNNING, HALFWAY, FAILED, known=event_id(RUNNING)) == [event(HALFWAY), event(FAILED)]
    assert await told(RUNNING, FAILED, known="of another run") == [event(RUNNING), event(FAILED)]


async def test_a_store_that_is_away_is_told_of_once_and_waited_for() -> None:
    said = await told(RUNNING, AWAY, AWAY, RUNNING, AWAY, FAILED)
    comment = b": the store can't be reached; still trying\n\n"
    assert said == [event(RUNNING), comment, comment, event(FAILED)]


async def test_a_record_that_is_deleted_ends_the_stream() -> None:
    assert await told(RUNNING, None) == [event(RUNNING)]


async def test_a_silent_stream_has_a_heartbeat_and_closes_what_it_reads() -> None:
    go, is_closed = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            await go.wait()
            yield b"second"
            await asyncio.Event().wait()
        finally:
            is_closed.set()

    chunks = with_heartbeats(slow(), seconds=1e-3)
    assert [await anext(chunks) for _ in range(3)] == [b"first", b": heartbeat\n\n", b": heartbeat\n\n"]
    go.set()
    while (chunk := await anext(chunks)) != b"second":
        assert chunk == b": heartbeat\n\n"
    await anext(chunks)
    await chunks.aclose()
    assert is_closed.is_set()


async def test_a_stream_that_ends_ends_with_its_heartbeats() -> None:
    async def short() -> AsyncGenerator[bytes, None]:
        yield b"only"

    assert [chunk async for chunk in with_heartbeats(short(), seconds=5)] == [b"only"]


@asynccontextmanager
async def following(bridge: Bridge, url: str, run_id: str = "run_1") -> AsyncIterator[httpx2.Response]:
    headers = {"X-API-Key": bridge.key(Scope.READ)}
    async with (
        httpx2.AsyncClient(base_url=url, headers=headers) as client,
        client.stream("GET", f"/api/v1/pipelines/events/acme/{run_id}") as answer,
    ):
        yield answer


async def open_streams(bridge: Bridge) -> int:
    return int(bridge.app.state.streams._open.total())


async def test_a_client_follows_a_run_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(status_events.__kwdefaults__, "poll_seconds", 1e-3)
    bridge = Bridge()
    await bridge.records.begin(new_run())
    seen = []
    async with serving(bridge.app) as url, following(bridge, url) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-store", "no")
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                seen.append(PipelineRunStatus.model_validate_json(line.removeprefix("data: ")))
                if len(seen) == 1:
                    await bridge.records.advance("run_1", phase=Phase.RUNNING, at=after(1), progress=3)
                else:
                    await bridge.records.finish("run_1", phase=Phase.COMPLETED, at=after(2), records_processed=9)
    assert [(each.status, each.progress) for each in seen] == [("pending", 0), ("running", 3), ("completed", 100)]
    assert await open_streams(bridge) == 0


async def test_a_client_that_knows_the_end_has_nothing_to_come_back_for() -> None:
    bridge = Bridge()
    await bridge.records.begin(new_run())
    await bridge.records.finish("run_1", phase=Phase.FAILED, at=after(2))
    async with bridge.client(bridge.key(Scope.READ)) as client:
        first = await client.get("/pipelines/events/acme/run_1")
        [identity] = [line.removeprefix("id: ") for line in first.text.splitlines() if line.startswith("id: ")]
        again = await client.get("/pipelines/events/acme/run_1", headers={"Last-Event-ID": identity})
        other = await client.get("/pipelines/events/acme/run_2")
    assert (first.status_code, again.status_code, again.content) == (200, 204, b"")
    assert (other.status_code, other.json()["detail"]) == (404, "Run not found: run_2")


async def test_so_many_streams_at_a_time_and_a_client_that_goes_makes_room() -> None:
    bridge = Bridge(settings=settings(max_streams=1))
    await bridge.records.begin(new_run())
    async with serving(bridge.app) as url:
        tasks = asyncio.all_tasks()
        async with following(bridge, url) as answer:
            await anext(answer.aiter_bytes())
            async with following(bridge, url) as refused:
                problem = json.loads(await refused.aread())
                assert (refused.status_code, refused.headers["Retry-After"]) == (429, "5")
                assert problem["type"] == "urn:pipelines:problem:too-many-streams"

        async def nothing_is_left() -> bool:
            return not await open_streams(bridge) and asyncio.all_tasks() <= tasks

        await eventually(nothing_is_left)
        async with following(bridge, url) as answer:
            assert answer.status_code == 200


async def test_no_organization_has_more_than_its_share_of_the_places() -> None:
    opened = Streams(8, asyncio.Event())
    with opened.place("acme"), opened.place("acme"):
        with pytest.raises(Problem, match="streams of the organization") as refused, opened.place("acme"):
            pass
        assert (refused.value.status, refused.value.reason) == (429, "TooManyStreams")
        with opened.place("globex"):
            pass
    with opened.place("acme"):
        pass
    with Streams(1, asyncio.Event()).place("acme"):
        pass  # one at least


async def test_streams_end_completely_when_the_process_is_told_to_stop() -> None:
    bridge = Bridge()
    await bridge.records.begin(new_run())
    async with serving(bridge.app) as url, following(bridge, url) as answer:
        chunks = answer.aiter_bytes()
        await anext(chunks)
        bridge.parts.stopping.set()
        async with asyncio.timeout(5):
            assert [chunk async for chunk in chunks] == []  # an answer that is cut off would raise


class Client:
    """The other side of an ASGI application: what it was sent, and when it goes."""

    def __init__(self, *, reads: bool = True) -> None:
        self.gone, self.began, self.reads = asyncio.Event(), asyncio.Event(), reads
        self.sent: list[Any] = []

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.began.set()
            if not self.reads:
                await asyncio.Event().wait()


async def endless(is_closed: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """A source that never ends by itself, and tells that it was closed."""
    try:
        yield b"x"
        await asyncio.Event().wait()
    finally:
        is_closed.set()


@pytest.mark.parametrize("end", ["goes", "stops", "cancelled", "stops, and the client doesn't read"])
async def test_whatever_ends_a_stream_its_source_is_closed_and_no_task_is_left(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline_bridge.streams._LAST_WORD_SECONDS", 0.01)
    is_closed = asyncio.Event()
    before, client = asyncio.all_tasks(), Client(reads="read" not in end)
    opened = Streams(1, asyncio.Event())
    stream = Stream(opened, "acme", endless(is_closed), "text/plain")
    serving = asyncio.create_task(stream({}, client.receive, client.send))  # type: ignore[arg-type]
    await client.began.wait()
    {"goes": client.gone.set, "cancelled": serving.cancel}.get(end, opened.stopping.set)()
    await asyncio.wait([serving])
    assert is_closed.is_set()
    assert asyncio.all_tasks() == before
    assert serving.cancelled() == (end == "cancelled")
    assert (client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}) == ("stops" in end)
    with opened.place("acme"):
        pass


async def test_a_defect_of_the_source_is_not_swallowed() -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise ZeroDivisionError

    client = Client()
    with pytest.raises(ZeroDivisionError):
        await Stream(Streams(1, asyncio.Event()), "acme", broken(), "text/plain")({}, client.receive, client.send)  # type: ignore[arg-type]


async def test_a_client_that_does_not_send_its_request_to_the_end_counts_as_gone() -> None:
    is_closed, complaints = asyncio.Event(), []
    client = Client()

    async def receive() -> dict[str, Any]:
        await client.began.wait()
        raise HTTPException(408, "The body didn't come within 30 s")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    await Stream(Streams(1, asyncio.Event()), "acme", endless(is_closed), "text/plain")({}, receive, client.send)  # type: ignore[arg-type]
    assert is_closed.is_set()
    gc.collect()
    await asyncio.sleep(0)
    assert not complaints, "an exception that nobody retrieves is complained about"
