"""What a real API server says to the chart: its objects are valid, its pods restricted, its policy tells who asks."""

import copy
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from kubernetes import client

from pipeline_core.lifecycle.observed import Run, RunSpec
from pipeline_core.run_document import RunDocument
from pipeline_operator.manifests import build_job
from pipeline_operator.settings import RunnerTemplate
from support.chart import LOCAL, NAMESPACE, REQUIRED, Rendering, merged, render
from support.impersonation import refused_for
from support.local_cluster import api_client, install_crds, kubectl, refusal

pytestmark = pytest.mark.e2e

DEV = merged(LOCAL, {"hostNetwork": False})
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
SPEC = {"org": "acme", "provider": "nowhere", "domain": "cost", "pipeline": "billing"}


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security Standard, with the ServiceAccounts of the chart's pods."""
    install_crds()
    core = client.CoreV1Api(api_client())
    name = f"test-chart-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})
    for account in ("pipelines-operator", "pipelines-exporter", "pipelines-bridge", "pipelines-runner"):
        core.create_namespaced_service_account(name, {"metadata": {"name": account}})
    kubectl("wait", "--for=create", "--timeout=30s", "--namespace", name, "serviceaccount/default")
    yield name
    core.delete_namespace(name)


@pytest.fixture(scope="module")
def dev() -> Rendering:
    return render(DEV)


WAYS = merged(
    REQUIRED,
    {
        "bridge": {
            "autoscaling": {"enabled": True},
            "podDisruptionBudget": {"enabled": True},
            "ingress": {"enabled": True, "hosts": ["a.example.com"], "tls": [{"secretName": "a"}]},
        },
        "networkPolicy": {"enabled": True, "bridgeFrom": [{"podSelector": {}}], "metricsFrom": [{"podSelector": {}}]},
    },
)


@pytest.mark.parametrize("values", [REQUIRED, DEV, LOCAL, WAYS], ids=["required", "dev", "local", "ways"])
def test_every_object_is_valid(namespace: str, values: Mapping[str, Any]) -> None:
    objects = [manifest for manifest in render(values).objects if manifest["kind"] != "Pod"]  # those are tried below
    for manifest in objects:
        if "namespace" in manifest["metadata"]:
            manifest["metadata"]["namespace"] = namespace
    arguments = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")
    kubectl(*arguments, "--namespace", namespace, "--filename", "-", stdin=yaml.safe_dump_all(objects))


@pytest.mark.parametrize("name", ["operator", "exporter", "bridge", "dev-services", "test"])
def test_pods_meet_the_restricted_standard(namespace: str, dev: Rendering, name: str) -> None:
    client.CoreV1Api(api_client()).create_namespaced_pod(namespace, dev.pods[f"pipelines-{name}"], dry_run="All")


def test_pods_of_runs_meet_the_restricted_standard(namespace: str, dev: Rendering) -> None:
    now = datetime.now(UTC)
    document = RunDocument(
        run_id="run_0a1b2c",
        org_slug="acme",
        env="dev",
        provider="gcp",
        domain="cost",
        pipeline="billing",
        logical_time=now,
        parameters={},
        config={},
        timeout_seconds=60,
        max_retries=0,
    )
    run = Run(namespace, "one", "uid", document.run_id, "1", 1, now, RunSpec("acme", "gcp", "cost", "billing"))
    template = RunnerTemplate.model_validate(dev.runner_template())
    job = build_job(run, document, template, progress=("http://operator/progress", "token"))["spec"]["template"]
    pod = {"metadata": {**job["metadata"], "name": "run-0a1b2c"}, "spec": job["spec"]}
    client.CoreV1Api(api_client()).create_namespaced_pod(namespace, pod, dry_run="All")


def test_the_standard_is_enforced_there(namespace: str, dev: Rendering) -> None:
    pod = copy.deepcopy(dev.pods["pipelines-operator"])
    pod["spec"]["hostNetwork"] = True
    with pytest.raises(client.ApiException) as caught:
        client.CoreV1Api(api_client()).create_namespaced_pod(namespace, pod, dry_run="All")
    assert "violates PodSecurity" in refusal(caught.value)


@pytest.fixture(scope="module")
def component(namespace: str) -> Iterator[str]:
    """The user that the policy trusts, with the policy in force: the one of an installation that watches all
    namespaces, if there is one in this cluster, else one of the test's own.
    """
    if installed := installed_component():
        yield installed
        return
    rendering = render(merged(REQUIRED, {"watch": {"namespaces": [namespace]}}), release=namespace)
    kinds = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    policy = yaml.safe_dump_all([manifest for kind in kinds for manifest in rendering.of_kind(kind)])
    kubectl("apply", "--filename", "-", stdin=policy)
    try:
        deadline = time.monotonic() + 30
        while not refused_for("alice", {**SPEC, "createdBy": "bob"}, namespace):
            assert time.monotonic() < deadline, "the policy isn't in force within 30 s"
            time.sleep(0.1)
        yield f"system:serviceaccount:{NAMESPACE}:{namespace}-pipelines-operator"
    finally:
        kubectl("delete", "--wait=false", "--filename", "-", stdin=policy)


def test_who_asks_can_name_themselves_or_nobody(namespace: str, component: str) -> None:
    for spec in (SPEC, {**SPEC, "createdBy": "alice"}):
        assert refused_for("alice", spec, namespace) == ""


def test_who_asks_can_not_name_another(namespace: str, component: str) -> None:
    message = refused_for("alice", {**SPEC, "createdBy": "bob"}, namespace)
    assert "spec.createdBy: expected alice, who asks for it, or nothing; got bob" in message


def test_a_component_can_name_anyone(namespace: str, component: str) -> None:
    assert refused_for(component, {**SPEC, "createdBy": "bob"}, namespace) == ""


def test_a_namesake_in_another_namespace_is_no_component(namespace: str, component: str) -> None:
    account = component.rpartition(":")[2]
    assert refused_for(f"system:serviceaccount:elsewhere:{account}", {**SPEC, "createdBy": "bob"}, namespace)


KEY = f"key:{'a1' * 8}"


def test_the_bridge_can_name_an_api_key(namespace: str, component: str) -> None:
    bridge = bridge_of(component)
    for spec in (SPEC, {**SPEC, "createdBy": KEY}):
        assert refused_for(bridge, spec, namespace) == ""


@pytest.mark.parametrize(
    "name", ["bob", f"{KEY}x", KEY[:-1], KEY.upper(), f" {KEY}", f"{KEY}\n", f"bob {KEY}", "key:", "system"]
)
def test_the_bridge_can_name_nobody_else(namespace: str, component: str, name: str) -> None:
    assert "spec.createdBy: expected" in refused_for(bridge_of(component), {**SPEC, "createdBy": name}, namespace)


def test_nobody_else_can_name_an_api_key(namespace: str, component: str) -> None:
    namesake = f"system:serviceaccount:elsewhere:{bridge_of(component).rpartition(':')[2]}"
    for user in ("alice", namesake):
        assert f"got {KEY}" in refused_for(user, {**SPEC, "createdBy": KEY}, namespace)


def bridge_of(component: str) -> str:
    """The bridge's user in the installation whose operator is this user."""
    return component.removesuffix("-operator") + "-bridge"


def installed_component() -> str | None:
    """The user that the policy of an installation for all namespaces trusts."""
    admission = client.AdmissionregistrationV1Api(api_client())
    label = "app.kubernetes.io/name=pipelines"
    for binding in admission.list_validating_admission_policy_binding(label_selector=label).items:
        if "-created-by." not in binding.metadata.name:
            continue
        if not (resources := binding.spec.match_resources) or not resources.namespace_selector.match_expressions:
            policy = admission.read_validating_admission_policy(binding.spec.policy_name)
            found = re.search(r"system:serviceaccount:[^']+", policy.spec.variables[0].expression)
            return found.group() if found else None
    return None
