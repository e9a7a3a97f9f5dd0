"""Objects are made, and looked for, in the installation's namespace or in the organization's own."""

import asyncio
from typing import Any

import pytest

from pipeline_bridge.cluster import BridgeCluster
from pipeline_bridge.placement import Placement
from pipeline_bridge.problems import Problem
from support.bridge import settings
from support.fake_kubernetes import FakeKubernetes

PER_ORG = {"tenancy": "NamespacePerOrganization"}


class Setting:
    """Namespaces at an API server, a clock, and the placement."""

    def __init__(self, **changes: Any) -> None:
        self.kubernetes = FakeKubernetes()
        self.time = 1_000.0
        cluster = BridgeCluster(self.kubernetes)  # type: ignore[arg-type]
        self.placement = Placement(cluster, settings(**changes), lambda: self.time)

    def put(self, name: str, org: str | None, *, made: str = "2026-11-01", **metadata: Any) -> None:
        labels = {"pipelines.dev/org": org} if org else {}
        body = {"name": name, "labels": labels, "creationTimestamp": f"{made}T00:00:00Z", "namespace": "", **metadata}
        self.kubernetes.put("namespaces", {"metadata": body})


async def test_a_shared_installation_asks_nobody() -> None:
    setting = Setting(namespaces=["first", "second"])
    assert await setting.placement.namespace_for("acme") == "first"
    assert await setting.placement.namespaces_of("acme") == ("first", "second")
    assert setting.kubernetes.calls == []


async def test_one_that_watches_all_namespaces_makes_objects_in_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "pipelines")
    setting = Setting()
    assert await setting.placement.namespace_for("acme") == "pipelines"
    assert await setting.placement.namespaces_of("acme") == (None,)


@pytest.mark.parametrize("watched", [[], ["late", "early", "other", "plain", "going", "missing"]])
async def test_an_organizations_namespaces_are_those_with_its_label(watched: list[str]) -> None:
    setting = Setting(**PER_ORG, namespaces=watched)
    setting.put("late", "acme", made="2026-11-02")
    setting.put("early", "acme", made="2026-11-01")
    setting.put("other", "globex")
    setting.put("plain", None)
    setting.put("going", "acme", made="2026-10-01", deletionTimestamp="2026-11-03T00:00:00Z")
    # The oldest stays the one when another is added.
    assert await setting.placement.namespace_for("acme") == "early"
    assert await setting.placement.namespaces_of("acme") == ("early", "late")
    assert await setting.placement.namespace_for("globex") == "other"


async def test_a_namespace_that_isnt_watched_isnt_one_of_the_organizations() -> None:
    setting = Setting(**PER_ORG, namespaces=["watched"])
    setting.put("elsewhere", "acme")
    with pytest.raises(Problem, match=r"expected one of watched to have the label pipelines\.dev/org=acme"):
        await setting.placement.namespace_for("acme")


async def test_without_a_namespace_the_label_is_named_and_it_is_looked_for_again_at_once() -> None:
    setting = Setting(**PER_ORG)
    with pytest.raises(Problem) as refused:
        await setting.placement.namespace_for("acme")
    assert (refused.value.status, refused.value.reason) == (409, "NoNamespace")
    assert refused.value.detail == (
        "Organization acme has no namespace in this installation: expected a namespace to have the label "
        "pipelines.dev/org=acme"
    )
    assert await setting.placement.namespaces_of("acme") == ()
    setting.put("new", "acme")
    setting.time += 0.001
    assert await setting.placement.namespace_for("acme") == "new"


async def test_what_is_found_is_kept_for_half_a_minute_and_read_once_for_all_who_wait() -> None:
    setting = Setting(**PER_ORG)
    setting.put("one", "acme")
    found = await asyncio.gather(*(setting.placement.namespace_for("acme") for _ in range(20)))
    assert (set(found), len(setting.kubernetes.calls)) == ({"one"}, 1)
    setting.kubernetes.remove("namespaces", "", "one")
    setting.put("two", "acme")
    setting.time += 30
    assert await setting.placement.namespace_for("acme") == "one"
    setting.time += 0.1
    assert await setting.placement.namespace_for("acme") == "two"
