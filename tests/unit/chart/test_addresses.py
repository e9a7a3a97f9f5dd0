"""Where each part is reached, on a service network and on a node without one, and whom keys are sent to."""

from typing import Any

import pytest

from pipeline_runner.settings import ApiSettings
from support.chart import (
    LOCAL,
    NAMESPACE,
    REQUIRED,
    Rendering,
    containers,
    environment,
    environment_of_exporter,
    merged,
    name_of,
    render,
)
from support.chart_values import DEV, RENDERINGS

pytestmark = pytest.mark.e2e


def test_addresses_on_a_service_network(dev: Rendering) -> None:
    operator = environment(dev.pods["pipelines-operator"]["spec"]["containers"][0])
    assert operator["PIPELINES_PROGRESS_URL"] == f"http://pipelines-operator.{NAMESPACE}.svc:8080/progress"
    assert operator["PIPELINES_HTTP_HOST"] == "0.0.0.0"
    assert "KUBERNETES_SERVICE_HOST" not in environment(
        render(REQUIRED).pods["pipelines-operator"]["spec"]["containers"][0]
    )
    for env in (environment_of_exporter(dev), environment(dev.runner_template())):
        assert env["BIGQUERY_EMULATOR_HOST"] == f"http://pipelines-dev-services.{NAMESPACE}.svc:9050"
        assert env["PIPELINES_BIGQUERY_STORAGE_ENDPOINT"] == f"http://pipelines-dev-services.{NAMESPACE}.svc:9060"
        assert env["PIPELINES_BIGQUERY_CREDENTIALS"] == "anonymous"
    services = {name_of(service) for service in dev.of_kind("Service")}
    assert services == {f"pipelines-{name}" for name in ("operator", "exporter", "bridge", "dev-services")}
    assert not [pod for pod in dev.pods.values() if pod["spec"].get("hostNetwork")]
    assert dev.runner_template()["hostNetwork"] is False


OFFICIAL = "api.anthropic.com,api.openai.com"


@pytest.mark.parametrize(
    ("values", "hosts"),
    [
        (REQUIRED, OFFICIAL),
        (merged(REQUIRED, {"credentials": {"hosts": ["gateway.example.com:8443"]}}), "gateway.example.com:8443"),
        (
            DEV,
            f"{OFFICIAL},http://pipelines-dev-services.{NAMESPACE}.svc:9070,http://pipelines-dev-services:9070",
        ),
        (LOCAL, f"{OFFICIAL},http://127.0.0.1:9070"),
    ],
    ids=["default", "others", "dev", "local"],
)
def test_keys_are_sent_to_the_listed_hosts_and_to_simulators_of_the_dev_services_alone(
    values: dict[str, Any], hosts: str
) -> None:
    told = environment(render(values).runner_template())["PIPELINES_API_HOSTS"]
    assert told == hosts
    assert ApiSettings(hosts=told).hosts == hosts.split(",")  # type: ignore[arg-type]


def test_the_simulators_are_reached_by_runs_where_the_dev_services_listen() -> None:
    rendering = render(
        merged(DEV, {"networkPolicy": {"enabled": True}, "devServices": {"ports": {"simulators": 9999}}})
    )
    (container,) = rendering.pods["pipelines-dev-services"]["spec"]["containers"]
    assert environment(container)["PIPELINES_DEV_SIMULATORS_PORT"] == "9999"
    assert {"name": "simulators", "containerPort": 9999} in container["ports"]
    ports = rendering.get("Service", "pipelines-dev-services")["spec"]["ports"]
    assert {"name": "simulators", "port": 9999, "targetPort": "simulators"} in ports
    _, of_runs = rendering.get("NetworkPolicy", "pipelines-dev-services")["spec"]["ingress"]
    assert {"port": "simulators"} in of_runs["ports"]


def test_addresses_on_a_node_without_one(local: Rendering) -> None:
    operator = environment(local.pods["pipelines-operator"]["spec"]["containers"][0])
    assert operator["PIPELINES_PROGRESS_URL"] == "http://127.0.0.1:8080/progress"
    assert operator["KUBERNETES_SERVICE_HOST"] == "127.0.0.1"
    assert operator["KUBERNETES_SERVICE_PORT"] == "6443"
    assert environment_of_exporter(local)["BIGQUERY_EMULATOR_HOST"] == "http://127.0.0.1:9050"
    assert local.of_kind("Service") == []
    assert all(pod["spec"]["hostNetwork"] for pod in local.pods.values())
    assert local.runner_template()["hostNetwork"] is True
    for deployment in local.of_kind("Deployment"):
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}, "two pods of one port can't share a node"
    for pod in local.pods.values():
        for container in containers(pod):
            listening = [value for name, value in environment(container).items() if name.endswith("_HOST")]
            assert "0.0.0.0" not in listening


@pytest.mark.parametrize(("name", "host"), [("local", "127.0.0.1"), ("dev", None)])
def test_probes_name_a_host_only_on_loopback(name: str, host: str | None) -> None:
    for pod in render(RENDERINGS[name]).pods.values():
        for container in pod["spec"]["containers"]:
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                action = container.get(probe, {}).get("httpGet") or container.get(probe, {}).get("tcpSocket")
                assert action is None or action.get("host") == host
