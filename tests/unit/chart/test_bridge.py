"""The bridge in the chart: its rights to the letter, its settings, ports, keys' pepper, scaling, and the ways to it."""

import os
from collections.abc import Mapping
from typing import Any

import pytest

from pipeline_bridge.settings import BridgeSettings
from pipeline_core.admission.tenancy import TenancyMode
from support.chart import LOCAL, NAMESPACE, REQUIRED, Manifest, Rendering, environment, merged, render

pytestmark = pytest.mark.e2e

NAME = "pipelines-bridge"
RIGHTS = {
    ("pipelines.dev", "pipelineruns"): {"get", "create", "patch"},
    ("pipelines.dev", "pipelineschedules"): {"get", "list", "create", "patch", "delete"},
    ("", "pods"): {"list"},
    ("", "pods/log"): {"get"},
}
WAYS = {
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
        "hosts": ["a.example.com", "*.b.example.com"],
        "tls": [{"secretName": "a", "hosts": ["a.example.com"]}],
    },
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["a.example.com"]},
    "autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 9, "targetCPUUtilizationPercentage": 50},
    "podDisruptionBudget": {"enabled": True},
}


def bridge(changes: Mapping[str, Any], values: Mapping[str, Any] = REQUIRED) -> Rendering:
    return render(merged(values, {"bridge": changes}))


@pytest.fixture(scope="module")
def required() -> Rendering:
    return render(REQUIRED)


def rights(rules: list[Manifest]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for rule in rules:
        assert rule.keys() == {"apiGroups", "resources", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


LISTED: dict[str, Any] = {"namespaces": ["a", "b"]}
ALL: dict[str, Any] = {"allNamespaces": True}
OWN_NAMESPACES = TenancyMode.NAMESPACE_PER_ORGANIZATION


@pytest.mark.parametrize(
    ("watch", "tenancy", "kind", "places", "more"),
    [
        ({}, TenancyMode.SHARED, "Role", [NAMESPACE], {}),
        (LISTED, TenancyMode.SHARED, "Role", ["a", "b"], {}),
        (ALL, TenancyMode.SHARED, "ClusterRole", [None], {}),
        (LISTED, OWN_NAMESPACES, "Role", ["a", "b"], {("", "namespaces"): {"get"}}),
        (ALL, OWN_NAMESPACES, "ClusterRole", [None], {("", "namespaces"): {"list"}}),
    ],
)
def test_it_may_do_this_and_no_more(
    watch: dict[str, Any],
    tenancy: TenancyMode,
    kind: str,
    places: list[str | None],
    more: dict[tuple[str, str], set[str]],
) -> None:
    rendering = render(merged(REQUIRED, {"watch": watch, "tenancy": {"mode": str(tenancy)}}))
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}
    granted = []
    for binding in [*rendering.of_kind("RoleBinding"), *rendering.of_kind("ClusterRoleBinding")]:
        if subject in binding["subjects"]:
            reference = binding["roleRef"]
            (role,) = (
                role
                for role in rendering.of_kind(reference["kind"])
                if role["metadata"]["name"] == reference["name"]
                and role["metadata"].get("namespace") == binding["metadata"].get("namespace")
            )
            granted.append(role)
    assert [(role["kind"], role["metadata"].get("namespace")) for role in granted] == [(kind, each) for each in places]
    for role in granted:
        assert rights(role["rules"]) == {**RIGHTS, **more}


def test_no_right_to_jobs_or_secrets_anywhere() -> None:
    for watch in ({}, {"namespaces": ["a"]}, {"allNamespaces": True}):
        rendering = render(merged(REQUIRED, {"watch": watch}))
        for role in [*rendering.of_kind("Role"), *rendering.of_kind("ClusterRole")]:
            if role["metadata"]["labels"]["app.kubernetes.io/component"] == "bridge":
                resources = {resource for _, resource in rights(role["rules"])}
                assert not resources & {"jobs", "secrets", "configmaps", "*"}


def test_its_settings_are_understood(required: Rendering, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"watch": {"namespaces": ["a", "b"]}, "tenancy": {"mode": "NamespacePerOrganization"}}
    changes = {"port": 1, "metricsPort": 2, "logLevel": "DEBUG", "requestsPerMinute": 3}
    rendering = bridge(changes, merged(REQUIRED, values))
    variables = environment(rendering.pods[NAME]["spec"]["containers"][0])
    taken = {name: value for name, value in variables.items() if isinstance(value, dict)}
    assert taken == {
        "PIPELINES_API_KEY_PEPPER": {"secretKeyRef": {"name": NAME, "key": "pepper"}},
        "PIPELINES_DATABASE_URL": {"secretKeyRef": {"name": "postgres", "key": "url"}},
        "POD_NAMESPACE": {"fieldRef": {"fieldPath": "metadata.namespace"}},
    }
    for name in os.environ:
        if name.startswith("PIPELINES_"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        if name.startswith(("PIPELINES_", "POD_")):
            monkeypatch.setenv(name, "p" * 40 if name in taken else value)
    settings = BridgeSettings()
    assert (settings.env, settings.namespaces, str(settings.tenancy)) == ("dev", ["a", "b"], "NamespacePerOrganization")
    assert (settings.http_port, settings.metrics_port, settings.requests_per_minute) == (1, 2, 3)
    assert (settings.log_level, settings.http_host) == ("DEBUG", "0.0.0.0")
    known = {f"PIPELINES_{name}".upper() for name in BridgeSettings.model_fields} | {"PIPELINES_DATABASE_URL"}
    assert {name for name in variables if name.startswith("PIPELINES_")} <= known, "what nobody reads"


def test_the_defaults_of_the_values_are_those_of_the_settings(required: Rendering) -> None:
    variables = environment(required.pods[NAME]["spec"]["containers"][0])
    for name in ("http_port", "metrics_port", "requests_per_minute", "catalog_dir", "log_level"):
        assert variables[f"PIPELINES_{name.upper()}"] == str(BridgeSettings.model_fields[name].default)


def test_it_waits_for_its_tables_and_sees_the_operators_catalog(required: Rendering) -> None:
    operator, spec = (required.pods[name]["spec"] for name in ("pipelines-operator", NAME))
    assert spec["initContainers"] == operator["initContainers"]
    (catalog,) = (volume for volume in operator["volumes"] if volume["name"] == "catalog")
    assert catalog in spec["volumes"]
    (container,) = spec["containers"]
    assert container["command"] == ["python3", "-m", "pipeline_bridge"]
    assert container["image"] == operator["containers"][0]["image"]
    assert spec["terminationGracePeriodSeconds"] == 30


def test_probes_and_ports(required: Rendering) -> None:
    (container,) = required.pods[NAME]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8001, "metrics": 8002}
    paths = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {
        "startupProbe": {"path": "/healthz", "port": "http"},
        "livenessProbe": {"path": "/healthz", "port": "http"},
        "readinessProbe": {"path": "/readyz", "port": "http"},
    }
    service = required.get("Service", NAME)
    assert service["spec"]["ports"] == [{"name": "http", "port": 8001, "targetPort": "http"}], (
        "metrics aren't for callers"
    )


def test_more_than_one_replaces_one_another_one_by_one() -> None:
    deployment = bridge({"replicas": 3}).get("Deployment", NAME)["spec"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_every_way_to_it() -> None:
    rendering = bridge(WAYS)
    assert "replicas" not in rendering.get("Deployment", NAME)["spec"], "it would be set back at each upgrade"
    scaler = rendering.get("HorizontalPodAutoscaler", NAME)
    assert scaler["apiVersion"] == "autoscaling/v2"
    assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 9)
    (metric,) = scaler["spec"]["metrics"]
    assert metric["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}

    ingress = rendering.get("Ingress", NAME)
    assert ingress["metadata"]["annotations"] == WAYS["ingress"]["annotations"]
    spec = ingress["spec"]
    assert (spec["ingressClassName"], spec["tls"]) == ("nginx", WAYS["ingress"]["tls"])
    assert [rule["host"] for rule in spec["rules"]] == WAYS["ingress"]["hosts"]
    for rule in spec["rules"]:
        backend = {"service": {"name": NAME, "port": {"name": "http"}}}
        assert rule["http"]["paths"] == [{"path": "/", "pathType": "Prefix", "backend": backend}]

    route = rendering.get("HTTPRoute", NAME)
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert route["spec"] == {
        "parentRefs": [{"name": "public"}],
        "hostnames": ["a.example.com"],
        "rules": [{"backendRefs": [{"name": NAME, "port": 8001}]}],
    }
    assert rendering.get("PodDisruptionBudget", NAME)["spec"]["maxUnavailable"] == 1


def test_an_ingress_for_any_host() -> None:
    (rule,) = bridge({"ingress": {"enabled": True}}).get("Ingress", NAME)["spec"]["rules"]
    assert "host" not in rule


def test_no_way_to_it_is_open_by_default(required: Rendering) -> None:
    kinds = {manifest["kind"] for manifest in required.objects}
    assert not kinds & {"Ingress", "HTTPRoute", "HorizontalPodAutoscaler"}
    assert required.get("Service", NAME)["spec"].get("type", "ClusterIP") == "ClusterIP"


def test_requests_come_from_anywhere_and_metrics_are_for_whom_they_are() -> None:
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    values = merged(REQUIRED, {"networkPolicy": {"enabled": True, "metricsFrom": [monitoring]}})
    requests, metrics = render(values).get("NetworkPolicy", NAME)["spec"]["ingress"]
    assert requests == {"ports": [{"port": "http"}]}
    assert metrics == {"ports": [{"port": "metrics"}], "from": [monitoring]}
    (requests,) = render(merged(values, {"networkPolicy": {"metricsFrom": []}})).get("NetworkPolicy", NAME)["spec"][
        "ingress"
    ]
    assert requests == {"ports": [{"port": "http"}]}, "an empty list of peers would be everyone"


def test_requests_come_from_where_the_values_say_and_from_helm_test() -> None:
    gateway = {"podSelector": {"matchLabels": {"app": "gateway"}}}
    rendering = render(merged(REQUIRED, {"networkPolicy": {"enabled": True, "bridgeFrom": [gateway]}}))
    (requests,) = rendering.get("NetworkPolicy", NAME)["spec"]["ingress"]
    test = rendering.get("Pod", "pipelines-test")["metadata"]["labels"]
    first, *others = requests["from"]
    assert first["podSelector"]["matchLabels"].items() <= test.items()
    assert others == [gateway]


def test_its_metrics_are_read_on_their_own_port() -> None:
    rendering = render(merged(REQUIRED, {"podMonitor": {"enabled": True, "interval": "15s"}}))
    monitor = rendering.get("PodMonitor", NAME)["spec"]
    assert monitor["podMetricsEndpoints"] == [{"port": "metrics", "path": "/metrics", "interval": "15s"}]
    labels = rendering.get("Deployment", NAME)["spec"]["template"]["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    (component,) = rendering.get("PodMonitor", "pipelines")["spec"]["selector"]["matchExpressions"]
    assert "bridge" not in component["values"]


def test_the_pepper_outlives_the_release(required: Rendering) -> None:
    secret = required.get("Secret", NAME)
    assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert secret["data"].keys() == {"pepper"}


def test_another_pepper_restarts_the_bridge_alone() -> None:
    values = merged(REQUIRED, {"progress": {"existingSecret": "k"}})
    # made anew in each rendering, since there is no cluster to look it up in
    first, second = (render(values).pods for _ in range(2))
    changed = {name for name in first if first[name]["metadata"] != second[name]["metadata"]}
    assert changed == {NAME}


def test_who_may_say_whom_a_run_is_for() -> None:
    policy = render(REQUIRED).get("ValidatingAdmissionPolicy", f"pipelines-created-by.{NAMESPACE}")["spec"]
    variables = {each["name"]: each["expression"] for each in policy["variables"]}
    account = f"system:serviceaccount:{NAMESPACE}"
    assert variables == {"components": f"['{account}:pipelines-operator']", "bridge": f"'{account}:{NAME}'"}
    (rule,) = policy["validations"]
    assert "== variables.bridge && object.spec.createdBy.matches('^key:[a-z0-9]{16}$')" in rule["expression"]


def test_helm_test_asks_whether_it_is_ready(required: Rendering) -> None:
    url = f"http://{NAME}.{NAMESPACE}.svc:8001/readyz"
    assert url in required.get("Pod", "pipelines-test")["spec"]["containers"][0]["command"]


@pytest.mark.parametrize("values", [REQUIRED, LOCAL], ids=["required", "local"])
def test_it_can_be_left_out(values: Mapping[str, Any]) -> None:
    everything = {"networkPolicy": {"enabled": True}, "podMonitor": {"enabled": True}}
    ways = WAYS if values is REQUIRED else {}
    rendering = bridge({"enabled": False, **ways}, merged(values, everything))
    left = [manifest["metadata"]["name"] for manifest in rendering.objects if "bridge" in manifest["metadata"]["name"]]
    assert left == []
    policy = rendering.get("ValidatingAdmissionPolicy", f"pipelines-created-by.{NAMESPACE}")
    for manifest in (policy, rendering.get("Pod", "pipelines-test")):
        assert "bridge" not in str(manifest)


def test_on_a_node_without_services_it_listens_on_loopback() -> None:
    rendering = render(LOCAL)
    variables = environment(rendering.pods[NAME]["spec"]["containers"][0])
    assert variables["PIPELINES_HTTP_HOST"] == "127.0.0.1"
    assert (variables["KUBERNETES_SERVICE_HOST"], variables["KUBERNETES_SERVICE_PORT"]) == ("127.0.0.1", "6443")
    assert rendering.of_kind("Service") == []
