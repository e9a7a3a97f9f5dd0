"""Liveness fails, in words, over HTTP, on each way in which the operator can stop working without ending."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, closing
from typing import Any

import aiohttp
import pytest

from pipeline_core.kube import names
from pipeline_local.services.processes import free_port
from pipeline_operator import health as health_module
from pipeline_operator.cluster import Cluster
from pipeline_operator.expectations import Expectations
from pipeline_operator.health import Health
from pipeline_operator.http import serve_apart
from pipeline_operator.observed_api import ObservedApi
from pipeline_operator.queue import WorkQueue
from pipeline_operator.work import work_forever
from sim.virtual_time import VirtualLoop
from support.fake_kubernetes import FakeKubernetes
from support.waiting import eventually, listens


class Clock:
    """The event loop's time and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


class Process:
    """What of the operator is judged, with the judge and its server."""

    def __init__(self, url: str, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.url, self.session, self.clock = url, session, clock
        self.kubernetes = FakeKubernetes()
        self.queue = WorkQueue(clock)
        self.expectations = Expectations((), 90.0, clock)
        self.cluster = Cluster(ObservedApi(self.kubernetes, self.expectations))
        self.ready = True
        self.health = Health(self.queue, self.expectations, lambda: self.ready, clock)

    async def get(self, path: str = "/healthz") -> tuple[int, str]:
        async with self.session.get(self.url + path) as answer:
            return answer.status, (await answer.text()).strip()

    async def eventually_says(self, status: int, words: str) -> None:
        async def asked() -> bool:
            got, text = await self.get()
            return got == status and words in text

        await eventually(asked)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "_TICK_SECONDS", 0.02)
    monkeypatch.setattr(health_module, "_LOOK_SECONDS", 0.02)


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    port = free_port()
    async with aiohttp.ClientSession() as session:
        process = Process(f"http://127.0.0.1:{port}", session, Clock())
        health = process.health
        async with running(
            lambda: serve_apart("127.0.0.1", port, healthy=health.healthy, ready=health.ready),
            health.tick_forever,
        ):
            await eventually(lambda: listens(port))
            yield process


@asynccontextmanager
async def running(*jobs: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(job()) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_process_that_works_is_healthy(process: Process) -> None:
    await process.eventually_says(200, "ok")
    assert await process.get("/readyz") == (200, "ok")
    process.ready = False
    assert await process.get("/readyz") == (503, "the watches have not started")


async def test_a_blind_watch(process: Process) -> None:
    process.kubernetes.put(names.RUNS, {"metadata": {"name": "billing"}})
    await process.cluster.get_run("default", "billing")
    await process.eventually_says(200, "ok")
    for _ in range(20):
        process.clock.ahead += 5
        process.expectations.answered()
    await process.eventually_says(503, "the watch of pipelineruns is blind: for 1")
    body = process.kubernetes.objects[names.RUNS, "default", "billing"]
    process.expectations.seen(names.RUNS, body, gone=False)
    await process.eventually_says(200, "ok")


@pytest.mark.parametrize("plural", [names.RUNS, "jobs", "pods"])
async def test_a_watch_is_not_blamed_for_an_object_that_is_gone(process: Process, plural: str) -> None:
    labels = {names.LABEL_RUN_ID: "run_1"}
    process.kubernetes.put(plural, {"metadata": {"name": "billing", "labels": labels}})
    await process.cluster.get_run("default", "billing")
    await process.cluster.get_job("default", "billing")
    await process.cluster.list_pods("default", "run_1")
    process.kubernetes.remove(plural, "default", "billing")
    for _ in range(10):
        process.clock.ahead += 5
        process.expectations.answered()
    assert process.expectations.late()

    async def looked() -> bool:
        return not process.expectations.late()

    async with running(lambda: process.health.look_forever(process.cluster)):
        await eventually(looked)
    for _ in range(20):
        process.clock.ahead += 5
        process.expectations.answered()
    await process.eventually_says(200, "ok")


async def test_a_queue_that_does_not_move(process: Process) -> None:
    async def hangs(_uid: str) -> None:
        await asyncio.Event().wait()

    async with running(lambda: work_forever(process.queue, hangs, 1)):
        process.queue.add("first")
        process.queue.add("second")
        await process.eventually_says(200, "ok")
        process.clock.ahead += 301
        await process.eventually_says(503, "no run has been worked on for 30")


@pytest.mark.parametrize(("runs", "workers"), [(50, 32), (2, 1), (1, 4)])
def test_passes_that_hang_and_are_given_up_again_and_again(
    runs: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In virtual time, with the limits as they are: the queue seems to move, and nothing is ever finished."""
    monkeypatch.setattr(health_module, "_TICK_SECONDS", 1.0)
    loop = VirtualLoop()

    async def live() -> tuple[str | None, str | None]:
        queue = WorkQueue(loop.time)
        health = Health(queue, Expectations((), 90.0, loop.time), lambda: True, loop.time)
        hanging = True

        async def reconcile(_uid: str) -> None:
            if hanging:
                await asyncio.Event().wait()

        async with running(lambda: work_forever(queue, reconcile, workers), health.tick_forever):
            for number in range(runs):
                queue.add(str(number))
            await asyncio.sleep(299)
            assert health.healthy() is None
            await asyncio.sleep(300)
            hung = health.healthy()
            hanging = False
            await asyncio.sleep(400)
            return hung, health.healthy()

    with closing(loop):
        hung, at_last = loop.run_until_complete(live())
    assert "no run has been worked on for" in (hung or "")
    assert at_last is None


async def test_a_long_queue_that_moves_is_no_fault(process: Process) -> None:
    for number in range(100):
        process.queue.add(str(number))
    process.clock.ahead += 3600
    process.queue.done(await process.queue.get())
    await process.eventually_says(200, "ok")


async def test_a_stuck_event_loop_is_told_by_the_server_and_its_place_is_logged(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "_LATE_MAX_SECONDS", 0.3)
    lines: list[dict[str, object]] = []
    monkeypatch.setattr(health_module._log, "error", lambda event, **fields: lines.append({"event": event, **fields}))
    answers: list[tuple[int, str]] = []

    def ask_meanwhile() -> None:
        async def ask() -> None:
            async with aiohttp.ClientSession() as session:
                for _ in range(3):
                    async with session.get(f"{process.url}/healthz") as answer:
                        answers.append((answer.status, await answer.text()))

        asyncio.run(ask())

    def blocks() -> None:
        """Stands in for a call that blocks: the loop of the operator does nothing until it returns."""
        deadline = time.monotonic() + 15
        while not (answers and answers[-1][0] == 503) and time.monotonic() < deadline:
            time.sleep(0.4)
            thread = threading.Thread(target=ask_meanwhile)
            thread.start()
            thread.join(10)

    blocks()
    assert answers[-1][0] == 503
    assert "the event loop has not run for" in answers[-1][1]
    assert len(lines) == 1, "said once"
    assert "in blocks" in str(lines[0]["at"])
    await process.eventually_says(200, "ok")
