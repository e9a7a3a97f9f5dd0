"""What the chart makes of its values: pods that are locked down and find each other, names, images, options."""

import re
from typing import Any

import pytest
import yaml

from support.chart import (
    CHART,
    REQUIRED,
    ROOT,
    Rendering,
    containers,
    environment_of_exporter,
    labels_of,
    merged,
    name_of,
    render,
)
from support.chart_values import DEV, PRODUCTION

pytestmark = pytest.mark.e2e


def test_every_container_is_locked_down(rendering: Rendering) -> None:
    for name, pod in rendering.pods.items():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["enableServiceLinks"] is False, "a Service's variables would look like settings"
        for container in containers(pod):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert "memory" in container["resources"]["limits"]


def test_what_pods_refer_to_is_there(rendering: Rendering) -> None:
    accounts = {account["metadata"]["name"] for account in rendering.of_kind("ServiceAccount")} | {"default"}
    config_maps = {config_map["metadata"]["name"] for config_map in rendering.of_kind("ConfigMap")}
    for pod in rendering.pods.values():
        assert pod["spec"]["serviceAccountName"] in accounts
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        assert {volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume} <= config_maps
        for container in containers(pod):
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes.keys()
    assert rendering.runner_template()["serviceAccountName"] in accounts


def test_selectors_match_their_pods(rendering: Rendering) -> None:
    for deployment in rendering.of_kind("Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        matching = [d for d in rendering.of_kind("Deployment") if selector.items() <= labels_of(d).items()]
        assert matching == [deployment]
    for service in rendering.of_kind("Service"):
        (deployment,) = (d for d in rendering.of_kind("Deployment") if d["metadata"]["name"] == name_of(service))
        assert service["spec"]["selector"].items() <= labels_of(deployment).items()
        ports = {port["name"] for c in containers(rendering.pods[name_of(service)]) for port in c.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_components_are_labelled(required: Rendering) -> None:
    for component in ("operator", "exporter", "bridge"):
        deployment = required.get("Deployment", f"pipelines-{component}")
        assert labels_of(deployment)["app.kubernetes.io/component"] == component


def test_nothing_holds_a_finalizer(rendering: Rendering) -> None:
    assert not [manifest for manifest in rendering.objects if manifest["metadata"].get("finalizers")]


def test_crds_are_those_of_the_repository_and_kept(required: Rendering) -> None:
    for path in (ROOT / "crds").glob("*.yaml"):
        source = yaml.safe_load(path.read_text())
        rendered = required.get("CustomResourceDefinition", source["metadata"]["name"])
        assert rendered["spec"] == source["spec"]
        assert rendered["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_crds_and_policy_can_be_left_out() -> None:
    rendering = render(merged(REQUIRED, {"crds": {"enabled": False}, "createdByPolicy": {"enabled": False}}))
    kinds = {manifest["kind"] for manifest in rendering.objects}
    assert not kinds & {"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


def test_the_notes_name_what_an_organization_needs() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    assert "pipelines org create" in notes
    assert "pipelines integration set" in notes


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({}, "localhost/pipelines-operator:0.1.0"),
        ({"operator": {"tag": "abc"}}, "localhost/pipelines-operator:abc"),
        ({"registry": "r.example.com:5000/x/"}, "r.example.com:5000/x/pipelines-operator:0.1.0"),
        ({"registry": "", "operator": {"repository": "r/o", "tag": "t"}}, "r/o:t"),
        (
            {"operator": {"tag": "t", "digest": f"sha256:{'a' * 64}"}},
            f"localhost/pipelines-operator@sha256:{'a' * 64}",
        ),
    ],
)
def test_image_references(image: dict[str, Any], reference: str) -> None:
    operator = render(merged(REQUIRED, {"image": image})).pods["pipelines-operator"]
    assert {container["image"] for container in containers(operator)} == {reference}


@pytest.mark.parametrize(
    ("persistence", "source"),
    [
        ({}, {"emptyDir": {}}),
        ({"type": "claim"}, {"persistentVolumeClaim": {"claimName": "pipelines-dev-services"}}),
        ({"type": "claim", "existingClaim": "mine"}, {"persistentVolumeClaim": {"claimName": "mine"}}),
        ({"type": "hostPath", "hostPath": "/srv/p"}, {"hostPath": {"path": "/srv/p", "type": "Directory"}}),
    ],
)
def test_data_of_the_dev_services(persistence: dict[str, Any], source: dict[str, Any]) -> None:
    rendering = render(merged(DEV, {"devServices": {"persistence": persistence}}))
    (volume,) = (v for v in rendering.pods["pipelines-dev-services"]["spec"]["volumes"] if v["name"] == "data")
    assert volume == {"name": "data", **source}
    made = [name_of(claim) for claim in rendering.of_kind("PersistentVolumeClaim")]
    assert made == (["pipelines-dev-services"] if persistence == {"type": "claim"} else [])


def test_options_are_off_by_default(required: Rendering) -> None:
    kinds = {manifest["kind"] for manifest in required.objects}
    assert not kinds & {"NetworkPolicy", "PodDisruptionBudget", "PodMonitor", "PersistentVolumeClaim"}
    assert "pipelines-dev-services" not in required.pods


def test_options_of_production() -> None:
    rendering = render(PRODUCTION)
    assert {name_of(budget) for budget in rendering.of_kind("PodDisruptionBudget")} == {
        "pipelines-operator",
        "pipelines-exporter",
        "pipelines-bridge",
    }
    policies = {name_of(policy): policy["spec"] for policy in rendering.of_kind("NetworkPolicy")}
    assert policies.keys() == {f"pipelines-{name}" for name in ("operator", "exporter", "bridge", "runner")}
    assert "ingress" not in policies["pipelines-runner"], "nobody connects to a run"
    assert rendering.get("PodMonitor", "pipelines")
    assert environment_of_exporter(rendering).keys().isdisjoint({"BIGQUERY_EMULATOR_HOST"})


def test_names_stay_short_and_two_releases_apart() -> None:
    long = render(DEV, release="r" * 53)
    for manifest in [*long.of_kind("Service"), *long.of_kind("Deployment")]:
        assert len(name_of(manifest)) <= 63
    other = render(REQUIRED, release="staging")
    assert {name_of(d) for d in other.of_kind("Deployment")} == {
        "staging-pipelines-operator",
        "staging-pipelines-exporter",
        "staging-pipelines-bridge",
    }


def test_notes_and_templates_are_of_the_release_alone() -> None:
    """No template speaks of a fixed namespace."""
    for path in (CHART / "templates").rglob("*"):
        if path.is_file():
            assert not re.search(r"namespace: [a-z]", path.read_text()), path


def test_the_migration_asks_for_what_its_workload_asks_for(required: Rendering) -> None:
    raised = render(merged(REQUIRED, {"operator": {"resources": {"requests": {"cpu": "2"}}}}))
    for rendered, of_the_operator in ((required, "100m"), (raised, "2")):
        specs = {name: pod["spec"] for name, pod in rendered.pods.items() if "initContainers" in pod["spec"]}
        assert specs.keys() == {"pipelines-operator", "pipelines-exporter", "pipelines-bridge"}
        for spec in specs.values():
            assert spec["initContainers"][0]["resources"] == spec["containers"][0]["resources"]
        operator = specs["pipelines-operator"]["initContainers"][0]
        assert operator["resources"]["requests"]["cpu"] == of_the_operator
