"""Logs of a run: all attempts in order, once, whatever breaks off; of the organization's own runs alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.pod_logs import RunLogs
from pipeline_bridge.streams import Streams
from pipeline_core.api_keys import Scope
from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_core.lifecycle.phases import Phase
from pipeline_core.store.errors import StoreUnavailableError
from pipeline_core.store.views import RunStatus
from support.bridge import Bridge, FakeCluster, serving
from support.runs import after, new_run
from support.waiting import eventually

Reading = list[bytes | Exception]
PENDING = RunStatus("run_1", Phase.PENDING, 0, None, None, None, None, 1)
RUNNING = RunStatus("run_1", Phase.RUNNING, 10, None, None, after(1), None, 2)
ENDED = RunStatus("run_1", Phase.COMPLETED, 100, None, None, None, after(9), 3)


def line(second: int, text: str) -> bytes:
    return f"2026-11-03T06:00:{second:02}.000000001Z {text}\n".encode()


class Pods(FakeCluster):
    """Pods whose logs are read as `readings` say, one after the other; a last reading that is empty never ends."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: dict[str, list[Reading]] = {}
        self.queries: list[tuple[str, dict[str, str]]] = []
        self.open = 0

    def add(self, name: str, *readings: Reading, state: str = "terminated", at: int = 0, run_id: str = "run_1") -> None:
        self.readings[name] = list(readings)
        created = f"2026-11-03T06:00:{at:02}Z"
        metadata = {"namespace": "runs", "name": name, "uid": f"uid-{name}", "creationTimestamp": created}
        metadata["labels"] = {names.LABEL_RUN_ID: run_id}  # type: ignore[assignment]
        states = [{"name": "sidecar", "state": {"running": {}}}, {"name": names.RUNNER_CONTAINER, "state": {state: {}}}]
        self.put("pods", {"metadata": metadata, "status": {"containerStatuses": states}})

    def set_state(self, name: str, state: str) -> None:
        self.objects["pods", "runs", name]["status"]["containerStatuses"][1]["state"] = {state: {}}

    @asynccontextmanager
    async def stream(self, path: str, *, query: Mapping[str, str] | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        name = path.removeprefix("/api/v1/namespaces/runs/pods/").removesuffix("/log")
        self.queries.append((name, dict(query or {})))
        reading = self.readings[name].pop(0) if self.readings[name] else []
        if reading and isinstance(reading[0], KubeError):
            raise reading[0]
        self.open += 1
        try:
            yield self._chunks(reading)
        finally:
            self.open -= 1

    @staticmethod
    async def _chunks(reading: Reading) -> AsyncIterator[bytes]:
        for chunk in reading:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
        if not reading:
            await asyncio.Event().wait()


class Story:
    """A run that stands where `statuses` say, one after the other, the last of them for ever."""

    def __init__(self, *statuses: RunStatus | Exception | None) -> None:
        self.pods = Pods()
        self.statuses = list(statuses)
        self.then: dict[int, Any] = {}
        self.asked = 0

    async def status(self) -> RunStatus | None:
        self.asked += 1
        self.then.pop(self.asked, lambda: None)()
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        if isinstance(status, Exception):
            raise status
        return status

    def logs(self, **limits: float) -> RunLogs:
        limits = {"poll_seconds": 1e-4, "list_seconds": 0.0, **limits}
        return RunLogs(BridgeCluster(self.pods), "runs", "run_1", self.status, **limits)

    async def read(self, *, follow: bool = True, tail: int | None = None, **limits: float) -> str:
        found = [chunk async for chunk in self.logs(**limits).read(follow=follow, tail=tail)]
        assert self.pods.open == 0
        return b"".join(found).decode()


async def test_attempts_come_in_the_order_of_their_creation() -> None:
    story = Story(ENDED)
    story.pods.add("b", [line(1, "first"), line(2, "cut")[:-1]], at=1)
    story.pods.add("a", [line(9, "second")], at=8)
    story.pods.add("c", [line(9, "of another run")], run_id="run_2")
    assert await story.read() == "first\ncut\nsecond\n"
    assert story.pods.queries[0] == ("b", {"container": "runner", "follow": "true", "timestamps": "true"})


async def test_it_waits_for_the_first_container_and_for_the_next_attempt() -> None:
    story = Story(*[RUNNING] * 8, ENDED)
    story.pods.add("a", [line(1, "first")], state="waiting", at=1)
    story.then = {
        3: lambda: story.pods.set_state("a", "terminated"),
        5: lambda: story.pods.add("b", [line(7, "second")], at=7),
    }
    assert await story.read() == "first\nsecond\n"


async def test_what_is_there_now_ends_at_once() -> None:
    story = Story(RUNNING)
    story.pods.add("a", [line(1, "so far")], state="running")
    assert await story.read(follow=False) == "so far\n"
    assert story.pods.queries == [("a", {"container": "runner", "follow": "false", "timestamps": "true"})]
    assert await Story(RUNNING).read(follow=False) == ""


async def test_the_end_of_a_reading_isnt_the_end_of_a_container() -> None:
    story = Story(RUNNING, RUNNING, ENDED)
    story.pods.add("a", [line(1, "one"), line(2, "two")], [line(2, "two"), line(3, "three")], state="running")
    story.pods.readings["a"].append([line(3, "three"), line(4, "four")])
    story.then = {3: lambda: story.pods.set_state("a", "terminated")}
    assert await story.read() == "one\ntwo\nthree\nfour\n"
    assert [query.get("sinceTime") for _, query in story.pods.queries] == [
        None, "2026-11-03T06:00:02Z", "2026-11-03T06:00:03Z"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "error",
    [KubeUnavailableError("cut"), KubeError(500, "InternalError", "dial"), KubeError(400, "BadRequest", "wait")],
)
async def test_a_reading_that_breaks_off_goes_on_where_it_was(error: Exception) -> None:
    story = Story(StoreUnavailableError("away"), RUNNING, RUNNING, ENDED)
    story.pods.add("a", [line(1, "one"), line(2, "two")[:-2], error], [error], [line(2, "two"), line(3, "three")])
    assert await story.read() == "one\ntwo\nthree\n"


async def test_patience_has_an_end_and_a_refusal_isnt_waited_out() -> None:
    story = Story(ENDED)
    story.pods.add("a", *([[KubeUnavailableError("away")]] * 1000))
    with pytest.raises(KubeUnavailableError):
        await story.read(patience_seconds=0.01)
    story.pods.add("a", [KubeError(403, "Forbidden", "no")], [line(1, "one")])
    with pytest.raises(KubeError):
        await story.read()
    story.pods.add("a", [KubeUnavailableError("away")], [line(1, "one")])
    with pytest.raises(KubeUnavailableError):
        await story.read(follow=False)


async def test_a_pod_that_is_deleted_meanwhile_is_read_as_far_as_it_was() -> None:
    story = Story(RUNNING, ENDED)
    story.pods.add("a", [line(1, "one")], [KubeError(404, "NotFound", "gone")], state="running")
    assert await story.read() == "one\n"


async def test_the_tail_is_of_the_latest_attempt_and_what_follows_comes_whole() -> None:
    story = Story(RUNNING, RUNNING, RUNNING, ENDED)
    story.pods.add("a", [line(1, "old")], at=1)
    story.pods.add("b", [line(5, "last")], [line(5, "last"), line(6, "more")], state="running", at=4)
    story.then = {
        2: lambda: story.pods.set_state("b", "terminated"),
        3: lambda: story.pods.add("c", [line(9, "next")], at=8),
    }
    assert await story.read(tail=1) == "last\nmore\nnext\n"
    assert [(name, query.get("tailLines")) for name, query in story.pods.queries] == [
        ("b", "1"),
        ("b", None),
        ("c", "1"),
    ]


async def test_no_pods_are_listed_before_the_record_shows_that_a_container_has_started() -> None:
    story = Story(*[PENDING] * 50, RUNNING, ENDED)
    story.pods.add("a", [line(1, "one")])
    assert await story.read() == "one\n"
    assert len(story.pods.calls) == 2


async def test_pods_are_listed_again_when_the_record_changes_or_after_a_while() -> None:
    again = RUNNING._replace(revision=3)
    story = Story(*[RUNNING] * 50, *[again] * 50, ENDED)
    story.pods.add("a", [line(1, "one")])
    story.then = {60: lambda: story.pods.add("b", [line(9, "two")], at=8)}
    assert await story.read(list_seconds=1000) == "one\ntwo\n"
    assert len(story.pods.calls) == 3
    story = Story(*[RUNNING] * 50, ENDED)
    story.pods.add("a", [line(1, "one")])
    assert await story.read(list_seconds=0) == "one\n"
    assert len(story.pods.calls) == 51


async def bridge(run_id: str = "run_1", **values: Any) -> Bridge:
    made = Bridge(kubernetes=Pods())
    await made.records.begin(new_run(run_id, **values))
    return made


async def ask(made: Bridge, address: str) -> httpx2.Response:
    async with made.client(made.key(Scope.READ)) as client:
        return await client.get(f"/api/v1/pipelines/logs/{address}")


def pods(made: Bridge) -> Pods:
    assert isinstance(made.kubernetes, Pods)
    return made.kubernetes


async def test_logs_over_http() -> None:
    made = await bridge()
    await made.records.finish("run_1", phase=Phase.COMPLETED, at=after(1))
    pods(made).add("a", [line(1, "one")])
    answer = await ask(made, "acme/run_1?tail=10")
    assert (answer.status_code, answer.text) == (200, "one\n")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert pods(made).queries[0][1]["tailLines"] == "10"


async def test_a_run_of_another_organization_is_never_looked_for() -> None:
    made = await bridge(org_slug="globex")
    pods(made).add("a", [line(1, "secret")])
    for run_id in ("run_1", "run_9", "x%00"):
        answer = await ask(made, f"acme/{run_id}")
        assert (answer.status_code, answer.json()["title"]) == (404, "Run not found")
    assert pods(made).calls == []


@pytest.mark.parametrize("has_pod", [True, False])
async def test_logs_that_are_gone_or_never_were_are_a_404_that_says_so(has_pod: bool) -> None:
    made = await bridge()
    await made.records.finish("run_1", phase=Phase.FAILED, at=after(1))
    if has_pod:
        pods(made).add("a", state="waiting")
    answer = await ask(made, "acme/run_1")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:pipelines:problem:logs-gone")
    assert answer.json()["detail"].startswith("No pod of run_1 is left")


async def test_kubernetes_is_not_asked_for_a_stream_that_has_no_place() -> None:
    made = await bridge()
    opened = made.app.state.streams = Streams(4, asyncio.Event())
    with opened.place("acme"):
        answer = await ask(made, "acme/run_1")
    assert (answer.status_code, answer.json()["title"]) == (429, "Too many streams")
    assert pods(made).calls == []


async def test_kubernetes_away_is_told_before_anything_is_answered() -> None:
    made = await bridge()

    def away(method: str, path: str) -> None:
        raise KubeUnavailableError("10.0.0.1 is away")

    made.kubernetes.before = away
    answer = await ask(made, "acme/run_1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.parametrize("query", ["tail=0", "tail=10001", "follow=perhaps", "lines=5"])
async def test_what_cant_be_is_refused_by_its_name(query: str) -> None:
    answer = await ask(await bridge(), f"acme/run_1?{query}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, query.partition("=")[0])


async def test_a_client_that_goes_closes_the_connection_to_kubernetes() -> None:
    made = await bridge()
    await made.records.advance("run_1", phase=Phase.RUNNING, at=after(1), started_at=after(1))
    pods(made).add("a", [], state="running")
    async with serving(made.app) as url, httpx2.AsyncClient(headers={"X-API-Key": made.key(Scope.READ)}) as client:
        tasks = asyncio.all_tasks()

        async def is_open() -> bool:
            return pods(made).open == 1

        async def nothing_is_left() -> bool:
            return pods(made).open == 0 and asyncio.all_tasks() <= tasks

        async with client.stream("GET", f"{url}/pipelines/logs/acme/run_1"):
            await eventually(is_open)
        await eventually(nothing_is_left)


async def test_a_stream_that_breaks_off_is_seen_to_be_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    made = await bridge()
    await made.records.advance("run_1", phase=Phase.RUNNING, at=after(1), started_at=after(1))
    pods(made).add("a", [line(1, "one"), KubeError(403, "Forbidden", "no")], state="running")
    async with serving(made.app) as url, httpx2.AsyncClient(headers={"X-API-Key": made.key(Scope.READ)}) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(f"{url}/pipelines/logs/acme/run_1")


def test_only_pods_of_the_run_are_listed() -> None:
    listed: list[Any] = []

    class Listing(Pods):
        async def request(self, method: str, path: str, **options: Any) -> Json:
            listed.append((method, path, options["query"]["labelSelector"]))
            return {"items": [], "metadata": {}}

    story = Story(ENDED)
    story.pods = Listing()
    asyncio.run(story.logs().attempts())
    assert listed == [("GET", "/api/v1/namespaces/runs/pods", "pipelines.dev/run-id=run_1")]
