"""What the bridge measures of requests; tests/unit/operator/test_metrics_doc.py holds the names against their page."""

import pytest
from prometheus_client import REGISTRY

from support.bridge import Bridge


@pytest.fixture
def bridge() -> Bridge:
    return Bridge()


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_requests_are_counted_by_endpoint_whatever_their_prefix(bridge: Bridge) -> None:
    labels = {"method": "GET", "route": "/pipelines/status/{org}/{run_id}", "status": "401"}
    before = value("pipelines_bridge_requests_total", **labels)
    refused = value("pipelines_bridge_rejections_total", reason="NotAuthenticated")
    async with bridge.client() as client:
        for prefix in ("", "/api/v1"):
            await client.get(f"{prefix}/pipelines/status/acme/run_1")
    assert value("pipelines_bridge_requests_total", **labels) == before + 2
    assert value("pipelines_bridge_rejections_total", reason="NotAuthenticated") == refused + 2
    assert value("pipelines_bridge_request_seconds_count", route=labels["route"]) >= 2


async def test_labels_are_bounded(bridge: Bridge) -> None:
    async with bridge.client() as client:
        for number in range(3):
            await client.request(f"METHOD{number}", f"/nothing/{number}")
    assert value("pipelines_bridge_requests_total", method="other", route="other", status="404") >= 3
    series = {
        (sample.labels["method"], sample.labels["route"])
        for family in REGISTRY.collect()
        if family.name == "pipelines_bridge_requests"
        for sample in family.samples
    }
    assert not [each for each in series if "nothing" in each[1] or "METHOD" in each[0]]
