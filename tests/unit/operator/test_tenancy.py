"""Where a namespace is one organization's, nobody else's runs start in it, and a burst of runs asks once."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pipeline_core.admission.tenancy import TenancyMode, WrongNamespaceError
from pipeline_core.kube import names
from pipeline_core.kube.api import Json, KubeError, KubeUnavailableError
from pipeline_core.lifecycle.observed import Run, RunSpec
from pipeline_operator.cluster import Cluster
from pipeline_operator.settings import OperatorSettings
from pipeline_operator.tenancy import Tenancy
from support.fake_kubernetes import FakeKubernetes
from support.operator_world import T0

RUN = Run("team-a", "one", "uid", "run_one", "1", 1, T0, RunSpec("acme", "gcp", "cost", "billing"))
GLOBEX = replace(RUN, spec=replace(RUN.spec, org="globex"))
NOBODYS = "spec.org: expected none, as namespace team-a names no organization in its label pipelines.dev/org; got acme"
PATH = "/api/v1/namespaces/team-a"


class SlowKubernetes(FakeKubernetes):
    """Answers in the event loop's next round, so that calls overlap; `answering` is waited for before."""

    def __init__(self) -> None:
        super().__init__()
        self.answering = asyncio.Event()
        self.answering.set()

    async def request(self, *call: Any, **more: Any) -> Json:
        answer = await super().request(*call, **more)
        await asyncio.sleep(0)
        await self.answering.wait()
        return answer


class Place:
    """The namespace team-a, a clock, and what checks."""

    def __init__(self, mode: TenancyMode = TenancyMode.NAMESPACE_PER_ORGANIZATION) -> None:
        self.kubernetes = SlowKubernetes()
        self.now = 0.0
        self.tenancy = Tenancy(Cluster(self.kubernetes), mode, lambda: self.now)

    def label(self, org: str | None) -> None:
        labels = {"team": "a"} if org is None else {"team": "a", names.LABEL_ORG: org}
        self.kubernetes.objects["namespaces", "", "team-a"] = {"metadata": {"name": "team-a", "labels": labels}}

    def fail(self, error: Exception) -> None:
        def fault(_method: str, _path: str) -> None:
            raise error

        self.kubernetes.before = fault

    @property
    def reads(self) -> int:
        assert set(self.kubernetes.calls) <= {("GET", PATH)}
        return len(self.kubernetes.calls)


async def test_its_own_organization_may_run_there() -> None:
    place = Place()
    place.label("acme")
    await place.tenancy.check(RUN)


@pytest.mark.parametrize(
    ("owner", "words"),
    [
        ("globex", "spec.org: expected globex, as namespace team-a names it in its label pipelines.dev/org; got acme"),
        (None, NOBODYS),
        ("", NOBODYS),
    ],
)
async def test_others_are_refused(owner: str | None, words: str) -> None:
    place = Place()
    place.label(owner)
    with pytest.raises(WrongNamespaceError) as caught:
        await place.tenancy.check(RUN)
    assert (str(caught.value), caught.value.reason) == (words, "WrongNamespace")


async def test_a_namespace_without_any_label_is_nobodys() -> None:
    place = Place()
    place.kubernetes.objects["namespaces", "", "team-a"] = {"metadata": {"name": "team-a"}}
    with pytest.raises(WrongNamespaceError, match="expected none"):
        await place.tenancy.check(RUN)


async def test_a_shared_namespace_is_not_even_asked_for() -> None:
    place = Place(TenancyMode.SHARED)
    await place.tenancy.check(RUN)
    assert place.reads == 0


async def test_a_burst_of_runs_asks_once() -> None:
    place = Place()
    place.label("acme")
    await asyncio.gather(*(place.tenancy.check(RUN) for _ in range(200)))
    assert place.reads == 1


async def test_a_burst_of_refusals_asks_twice_at_most() -> None:
    place = Place()
    place.label("acme")
    place.now = 1.0
    await place.tenancy.check(RUN)
    place.now = 2.0
    answers = await asyncio.gather(*(place.tenancy.check(GLOBEX) for _ in range(200)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {WrongNamespaceError}
    assert place.reads == 2


async def test_the_label_is_read_again_after_a_while() -> None:
    place = Place()
    place.label("acme")
    await place.tenancy.check(RUN)
    place.label("globex")
    place.now = 30.0
    await place.tenancy.check(RUN)
    assert place.reads == 1
    place.now = 30.1
    with pytest.raises(WrongNamespaceError, match="expected globex"):
        await place.tenancy.check(RUN)


async def test_a_label_that_was_just_set_counts_at_once() -> None:
    place = Place()
    place.label(None)
    with pytest.raises(WrongNamespaceError):
        await place.tenancy.check(RUN)
    place.label("acme")
    place.now = 0.1
    await place.tenancy.check(RUN)
    assert place.reads == 2


async def test_a_refusal_never_rests_on_a_read_that_began_before_it_was_asked_for() -> None:
    place = Place()
    place.label(None)
    place.kubernetes.answering.clear()
    early = asyncio.create_task(place.tenancy.check(RUN))
    await asyncio.sleep(0.001)
    assert place.reads == 1, "the read is under way, and has seen no label"
    place.label("acme")
    place.now = 0.1
    late = asyncio.create_task(place.tenancy.check(RUN))
    await asyncio.sleep(0.001)
    place.kubernetes.answering.set()
    with pytest.raises(WrongNamespaceError):
        await early
    await late


async def test_namespaces_are_kept_apart() -> None:
    place = Place()
    place.label("acme")
    place.kubernetes.objects["namespaces", "", "team-b"] = {
        "metadata": {"name": "team-b", "labels": {names.LABEL_ORG: "globex"}}
    }
    await asyncio.gather(place.tenancy.check(RUN), place.tenancy.check(replace(GLOBEX, namespace="team-b")))
    with pytest.raises(WrongNamespaceError, match="namespace team-b"):
        await place.tenancy.check(replace(RUN, namespace="team-b"))


async def test_a_run_waits_while_the_api_server_is_away_and_goes_on_by_itself() -> None:
    place = Place()
    place.label("acme")
    place.fail(KubeUnavailableError("no answer"))
    with pytest.raises(KubeUnavailableError):
        await place.tenancy.check(RUN)
    place.kubernetes.before = lambda _method, _path: None
    await place.tenancy.check(RUN)


async def test_a_kept_label_bridges_an_outage_but_refuses_nobody() -> None:
    place = Place()
    place.label("acme")
    await place.tenancy.check(RUN)
    place.fail(KubeUnavailableError("no answer"))
    place.now = 1.0
    await place.tenancy.check(RUN)
    with pytest.raises(KubeUnavailableError):
        await place.tenancy.check(GLOBEX)


async def test_a_missing_right_is_said_and_is_no_refusal() -> None:
    place = Place()
    place.fail(KubeError(403, "Forbidden", 'namespaces "team-a" is forbidden'))
    with pytest.raises(KubeError) as caught:
        await place.tenancy.check(RUN)
    for words in ("namespace team-a can't be read", "the right to get it", 'namespaces "team-a" is forbidden'):
        assert words in caught.value.message


async def test_a_namespace_that_is_gone_refuses_nobody() -> None:
    with pytest.raises(KubeError, match="namespace team-a isn't there"):
        await Place().tenancy.check(RUN)


def test_the_setting_is_shared_unless_the_chart_says_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert OperatorSettings(env="dev").tenancy is TenancyMode.SHARED
    monkeypatch.setenv("PIPELINES_TENANCY", "NamespacePerOrganization")
    assert OperatorSettings(env="dev").tenancy is TenancyMode.NAMESPACE_PER_ORGANIZATION


async def test_whose_a_namespace_is_is_told_without_an_error() -> None:
    place = Place()
    place.label("acme")
    assert await place.tenancy.owns("acme", "team-a")
    assert not await place.tenancy.owns("globex", "team-a")
    assert place.reads == 1
    place.now += 31
    place.fail(KubeUnavailableError("connection lost"))
    assert await place.tenancy.owns("globex", "team-a")
    assert await Place(TenancyMode.SHARED).tenancy.owns("globex", "team-a")
