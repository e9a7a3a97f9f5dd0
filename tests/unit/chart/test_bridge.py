"""The bridge in the chart: its rights to the letter, its settings, ports, keys' pepper, scaling, and the ways to it."""

import os
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from starlette.routing import Mount, Route

from pipeline_bridge import main
from pipeline_bridge.app import BridgeApp
from pipeline_bridge.settings import BridgeSettings
from pipeline_core.admission.tenancy import TenancyMode
from support.chart import (
    CHART,
    LOCAL,
    NAMESPACE,
    REQUIRED,
    Manifest,
    Rendering,
    environment,
    merged,
    render,
    render_error,
)

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
    (migrate,), (others,) = spec["initContainers"], operator["initContainers"]
    assert migrate == {**others, "resources": spec["containers"][0]["resources"]}
    (catalog,) = (volume for volume in operator["volumes"] if volume["name"] == "catalog")
    assert catalog in spec["volumes"]
    (container,) = spec["containers"]
    assert container["command"] == ["python3", "-m", "pipeline_bridge"]
    assert container["image"] == operator["containers"][0]["image"]


def test_proxies_have_time_to_hear_that_a_pod_goes(required: Rendering) -> None:
    spec = required.pods[NAME]["spec"]
    (container,) = spec["containers"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    # The kubelet's patience begins with preStop, and the process has its own way to end before it is over.
    assert spec["terminationGracePeriodSeconds"] >= 5 + main._END_SECONDS + 5
    (local,) = render(LOCAL).pods[NAME]["spec"]["containers"]
    assert "lifecycle" not in local, "without a Service nobody has to hear"


def test_probes_and_ports(required: Rendering) -> None:
    (container,) = required.pods[NAME]["spec"]["containers"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"http": 8001, "metrics": 8002}
    paths = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {
        "startupProbe": {"path": "/healthz", "port": "metrics"},
        "livenessProbe": {"path": "/healthz", "port": "metrics"},
        "readinessProbe": {"path": "/readyz", "port": "metrics"},
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
        for way in rule["http"]["paths"]:
            assert way["backend"] == {"service": {"name": NAME, "port": {"name": "http"}}}

    route = rendering.get("HTTPRoute", NAME)
    assert route["apiVersion"] == "gateway.networking.k8s.io/v1"
    (rule,) = route["spec"].pop("rules")
    assert route["spec"] == {"parentRefs": [{"name": "public"}], "hostnames": ["a.example.com"]}
    assert rule["backendRefs"] == [{"name": NAME, "port": 8001}]
    assert len(rule["matches"]) <= 8, "what a Gateway API of version 1.0 takes"
    assert rendering.get("PodDisruptionBudget", NAME)["spec"]["maxUnavailable"] == 1


def ways_from_outside() -> dict[str, list[tuple[str, bool]]]:
    """The paths that each way in leads to it by, and whether a path is meant with all that is below it."""
    rendering = bridge(WAYS)
    by_ingress = rendering.get("Ingress", NAME)["spec"]["rules"][0]["http"]["paths"]
    (rule,) = rendering.get("HTTPRoute", NAME)["spec"]["rules"]
    return {
        "Ingress": [(way["path"], {"Prefix": True, "Exact": False}[way["pathType"]]) for way in by_ingress],
        "HTTPRoute": [
            (match["path"]["value"], {"PathPrefix": True, "Exact": False}[match["path"]["type"]])
            for match in rule["matches"]
        ],
    }


def test_every_endpoint_is_reached_from_outside_and_no_probe_is() -> None:
    served = {route.path for route in BridgeApp().routes if isinstance(route, Route | Mount)}
    internal = {"/healthz", "/readyz", "/metrics"}
    pages = {path for path in served if path.startswith("/docs")} | {"/openapi.json"}
    endpoints = served - internal - pages
    assert endpoints, "nothing would be asked"
    public = endpoints | {f"/api/v1{path}" for path in endpoints} | pages
    private = internal | {f"/api/v1{path}" for path in internal} | {"/", "/api", "/docsx", "/openapi.json/x"}
    for kind, ways in ways_from_outside().items():

        def leads(path: str, ways: list[tuple[str, bool]] = ways) -> bool:
            return any(path == way or (below and path.startswith(f"{way}/")) for way, below in ways)

        assert {path for path in public if not leads(path)} == set(), kind
        assert {path for path in private if leads(path)} == set(), kind


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


def test_without_a_cluster_no_pepper_is_made_unless_that_is_wished_for() -> None:
    for asked in (REQUIRED, LOCAL):
        error = render_error(merged(asked, {"bridge": {"pepper": {"allowEphemeral": False}}}))
        assert "bridge.pepper.existingSecret: name a Secret" in error
        assert f"create secret generic pipelines-pepper --namespace {NAMESPACE} --from-file=pepper=/dev/stdin" in error
        assert "bridge.pepper.allowEphemeral=true" in error
    named = bridge({"pepper": {"allowEphemeral": False, "existingSecret": "keys", "existingSecretKey": "p"}})
    assert not [secret for secret in named.of_kind("Secret") if secret["metadata"]["name"] == NAME]
    assert bridge({"enabled": False, "pepper": {"allowEphemeral": False}}).objects
    assert yaml.safe_load((CHART / "values.yaml").read_text())["bridge"]["pepper"]["allowEphemeral"] is False


def test_helm_test_asks_as_a_caller_does(required: Rendering) -> None:
    url = f"http://{NAME}.{NAMESPACE}.svc:8001/api/v1/validator/pipelines"
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
