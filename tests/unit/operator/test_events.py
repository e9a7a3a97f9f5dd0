"""Events are told soon but never in a run's way, and what Kubernetes warns of is read once for all that wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.lifecycle.observed import Run
from pipeline_operator.cluster import Cluster
from pipeline_operator.events import Events
from pipeline_operator.parsing import parse_run
from support.fake_kubernetes import FakeKubernetes
from support.operator_world import T0
from support.waiting import eventually

SPEC = {"org": "acme", "provider": "demo", "domain": "test", "pipeline": "noop"}


class Setting:
    """Events over an API server in memory, with a clock and a load that a test sets."""

    def __init__(self) -> None:
        self.time = T0
        self.busy = False
        self.kubernetes = FakeKubernetes(lambda: self.time)
        self.events = Events(Cluster(self.kubernetes), lambda: self.time, lambda: self.busy)
        body = self.kubernetes.put("pipelineruns", {"metadata": {"name": "billing"}, "spec": SPEC})
        self.run: Run = parse_run(body)

    def told(self) -> list[str]:
        return [body["reason"] for (plural, _, _), body in self.kubernetes.objects.items() if plural == "events"]

    async def all_told(self) -> bool:
        return sorted(self.told()) == ["Completed", "Started"]

    def warn(self, uid: str, message: str, second: int, kind: str = "Warning") -> None:
        event = {
            "metadata": {"name": f"{uid}.{second}"},
            "involvedObject": {"uid": uid},
            "type": kind,
            "reason": "FailedMount",
            "message": message,
            "lastTimestamp": f"2026-11-22T03:00:{second:02}Z",
        }
        self.kubernetes.put("events", event)

    def lists(self) -> int:
        return sum(method == "GET" for method, _ in self.kubernetes.calls)

    @asynccontextmanager
    async def telling(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.events.tell_forever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_they_are_told_by_themselves_once_each(setting: Setting) -> None:
    for reason in ("Started", "Started", "Completed"):
        setting.events.tell(setting.run, reason, "words")
    assert setting.told() == []
    async with setting.telling():
        await eventually(setting.all_told)


async def test_while_runs_start_and_end_they_wait_but_not_for_ever(setting: Setting) -> None:
    setting.busy = True
    for reason in ("Started", "Completed"):
        setting.events.tell(setting.run, reason, "words")
    async with setting.telling():
        await asyncio.sleep(0)
        assert setting.told() == []
        setting.time += timedelta(seconds=30)
        await eventually(setting.all_told)


@pytest.mark.parametrize("error", [KubeError(403, "Forbidden", "no"), KubeUnavailableError("away")])
async def test_one_that_cannot_be_told_keeps_nothing_else_back(setting: Setting, error: Exception) -> None:
    def once(_method: str, _path: str) -> None:
        setting.kubernetes.before = lambda _method, _path: None
        raise error

    setting.kubernetes.before = once
    for reason in ("Dropped", "Started", "Completed"):
        setting.events.tell(setting.run, reason, "words")
    with capture_logs() as lines:
        async with setting.telling():
            await eventually(setting.all_told)
    assert [line["about"] for line in lines] == ["Dropped"]


async def test_no_more_are_kept_than_memory_can_bear(setting: Setting) -> None:
    with capture_logs() as lines:
        for number in range(5_001):
            setting.events.tell(setting.run, f"Reason{number}", "words")
    assert [line["about"] for line in lines] == ["Reason5000"]


async def test_what_is_left_is_told_at_the_end_of_the_process(setting: Setting) -> None:
    setting.busy = True
    for reason in ("Started", "Completed"):
        setting.events.tell(setting.run, reason, "words")
    await setting.events.tell_rest()
    assert await setting.all_told()


async def test_the_newest_warning_is_told_and_read_once_for_all_that_ask(setting: Setting) -> None:
    setting.warn("pod-1", "older", 1)
    setting.warn("pod-1", "newer", 3)
    setting.warn("pod-1", "all is well", 5, kind="Normal")
    setting.warn("pod-2", "another", 4)
    asked = ("pod-1", "pod-2", "pod-3")
    words = await asyncio.gather(*(setting.events.newest_warning("default", uid) for uid in asked))
    assert words == ["FailedMount: newer", "FailedMount: another", None]
    assert setting.lists() == 1
    setting.warn("pod-3", "late", 6)
    setting.time += timedelta(seconds=5)
    assert await setting.events.newest_warning("default", "pod-3") == "FailedMount: late"


@pytest.mark.parametrize("error", [KubeError(403, "Forbidden", "no"), KubeUnavailableError("away")])
async def test_warnings_that_cannot_be_read_are_no_error_of_the_run(setting: Setting, error: Exception) -> None:
    def fail(_method: str, _path: str) -> None:
        raise error

    setting.kubernetes.before = fail
    with capture_logs() as lines:
        assert await setting.events.newest_warning("default", "pod-1") is None
    assert [line["event"] for line in lines] == ["warnings not read"]
