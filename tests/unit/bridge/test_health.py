"""Liveness and readiness: what makes a process unready, what is said of it, and that probes cost nothing."""

import asyncio
import shutil
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from pipeline_core.catalog.watcher import CatalogWatcher
from pipeline_core.kube.api import KubeError, KubeUnavailableError
from pipeline_core.store.errors import StoreUnavailableError
from support.bridge import Bridge
from support.operator_world import CONFIGS
from support.waiting import eventually


@pytest.fixture
def bridge() -> Bridge:
    return Bridge()


async def readyz(bridge: Bridge) -> tuple[int, str]:
    async with bridge.client() as client:
        answer = await client.get("/readyz")
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.text.strip()


async def after_a_look(bridge: Bridge) -> tuple[int, str]:
    await bridge.app.state.readiness.look()
    found = await readyz(bridge)
    assert REGISTRY.get_sample_value("pipelines_bridge_ready") == (found[0] == 200)
    return found


def raising(error: Exception):
    def fault(*_: str) -> None:
        raise error

    return fault


async def test_nothing_is_taken_for_granted(bridge: Bridge) -> None:
    assert await readyz(bridge) == (503, "starting")
    assert await after_a_look(bridge) == (200, "ok")


async def test_postgresql_is_away(bridge: Bridge) -> None:
    bridge.keys.fault = raising(StoreUnavailableError("PostgreSQL is unavailable: no route to 10.0.0.7"))
    with capture_logs() as logs:
        assert await after_a_look(bridge) == (503, "store")
        assert await after_a_look(bridge) == (503, "store")
    assert [each["why"] for each in logs] == ["PostgreSQL is unavailable: no route to 10.0.0.7"]


async def test_kubernetes_is_away(bridge: Bridge) -> None:
    bridge.kubernetes.before = raising(KubeUnavailableError("no route"))
    assert await after_a_look(bridge) == (503, "kubernetes")


async def test_all_that_is_away_is_named(bridge: Bridge) -> None:
    bridge.keys.fault = raising(StoreUnavailableError("away"))
    bridge.kubernetes.before = raising(KubeUnavailableError("no route"))
    assert await after_a_look(bridge) == (503, "store, kubernetes")


async def test_a_namespace_that_is_gone_with_our_rights_in_it_concerns_nobody_else(bridge: Bridge) -> None:
    bridge.kubernetes.before = raising(KubeError(403, "Forbidden", "cannot get pipelineruns"))
    assert await after_a_look(bridge) == (200, "ok")


async def test_a_catalog_that_was_never_good(tmp_path: Path) -> None:
    bridge = Bridge(catalog=CatalogWatcher(tmp_path))
    assert await after_a_look(bridge) == (503, "catalog")


async def test_the_last_good_catalog_is_good_enough(tmp_path: Path) -> None:
    shutil.copytree(CONFIGS, tmp_path / "configs")
    bridge = Bridge(catalog=CatalogWatcher(tmp_path / "configs"))
    assert await after_a_look(bridge) == (200, "ok")
    (tmp_path / "configs" / "gcp" / "cost" / "billing.yml").write_text("pipeline: [")
    assert await after_a_look(bridge) == (200, "ok")


async def test_it_gets_well_again(bridge: Bridge) -> None:
    bridge.keys.fault = raising(StoreUnavailableError("away"))
    assert (await after_a_look(bridge))[0] == 503
    bridge.keys.fault = lambda _method: None
    assert await after_a_look(bridge) == (200, "ok")


async def test_a_process_that_stops_is_alive_and_not_ready(bridge: Bridge) -> None:
    assert await after_a_look(bridge) == (200, "ok")
    bridge.parts.stopping.set()
    assert await readyz(bridge) == (503, "stopping")
    async with bridge.client() as client:
        assert (await client.get("/healthz")).text == "ok\n"


async def test_a_defect_of_the_look_is_not_the_end_of_looking(bridge: Bridge) -> None:
    bridge.keys.fault = raising(RuntimeError("a defect"))
    task = asyncio.create_task(bridge.app.state.readiness.look_forever(0.001))
    try:
        await eventually(lambda: says(bridge, "unknown"))
        bridge.keys.fault = lambda _method: None
        await eventually(lambda: says(bridge, "ok"))
    finally:
        task.cancel()


async def says(bridge: Bridge, text: str) -> bool:
    return (await readyz(bridge))[1] == text


async def test_probes_ask_nobody(bridge: Bridge) -> None:
    await after_a_look(bridge)
    keys, calls = len(bridge.keys.asked), len(bridge.kubernetes.calls)
    for _ in range(5):
        await readyz(bridge)
    assert (len(bridge.keys.asked), len(bridge.kubernetes.calls)) == (keys, calls)
