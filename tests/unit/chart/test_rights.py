"""What operator and runs may do, in which namespaces, and who is kept out of them."""

from typing import Any

import pytest
import yaml

from pipeline_core.admission.tenancy import TenancyMode
from pipeline_operator.settings import OperatorSettings
from support.chart import (
    NAMESPACE,
    REQUIRED,
    ROOT,
    Rendering,
    bound,
    environment,
    grants,
    merged,
    name_of,
    render,
    selecting,
)
from support.chart_values import DEV

pytestmark = pytest.mark.e2e


PER_ORGANIZATION = TenancyMode.NAMESPACE_PER_ORGANIZATION


def test_only_operator_and_bridge_have_a_token(rendering: Rendering) -> None:
    expected = {"pipelines-operator", "pipelines-bridge"}
    tokens = {name for name, pod in rendering.pods.items() if pod["spec"].get("automountServiceAccountToken", True)}
    assert tokens == expected
    for account in rendering.of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is (account["metadata"]["name"] in expected)


def test_the_operator_may_do_this_and_no_more(required: Rendering) -> None:
    assert grants(required.get("Role", "pipelines-operator")["rules"]) == {
        "pipelines.dev/pipelineruns": {"get", "list", "watch", "create", "patch", "delete"},
        "pipelines.dev/pipelineruns/status": {"patch"},
        "pipelines.dev/pipelineschedules": {"get", "list", "watch"},
        "pipelines.dev/pipelineschedules/status": {"patch"},
        "batch/jobs": {"get", "list", "watch", "create", "delete"},
        "/pods": {"list", "watch", "delete"},
        "/events": {"create", "list"},
    }
    leader = required.get("Role", "pipelines-operator-leader")["rules"]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in leader] == [
        (["create"], None),
        (["get", "update"], ["pipelines-operator"]),
    ]
    assert bound(required, "RoleBinding") == {
        ("pipelines-operator", "pipelines-operator"),
        ("pipelines-operator-leader", "pipelines-operator"),
        ("pipelines-bridge", "pipelines-bridge"),
    }


def test_runs_are_accepted_in_the_releases_namespace_by_default(required: Rendering) -> None:
    assert required.of_kind("ClusterRole") == required.of_kind("ClusterRoleBinding") == []
    assert required.get("Role", "pipelines-operator")["metadata"]["namespace"] == NAMESPACE
    assert required.get("ServiceAccount", "pipelines-runner")["metadata"]["namespace"] == NAMESPACE
    operator = required.pods["pipelines-operator"]
    assert environment(operator["spec"]["containers"][0])["PIPELINES_NAMESPACES"] == NAMESPACE
    (binding,) = required.of_kind("ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["matchResources"]["namespaceSelector"] == selecting(NAMESPACE)


def test_all_namespaces_need_a_cluster_role_with_the_same_rights(required: Rendering) -> None:
    rendering = render(merged(REQUIRED, {"watch": {"allNamespaces": True}, "runner": {"namespaces": ["a"]}}))
    cluster_role = rendering.get("ClusterRole", f"pipelines-operator.{NAMESPACE}")
    assert cluster_role["rules"] == required.get("Role", "pipelines-operator")["rules"]
    assert bound(rendering, "ClusterRoleBinding") == {
        (f"pipelines-{component}.{NAMESPACE}", f"pipelines-{component}") for component in ("operator", "bridge")
    }
    assert [name_of(role) for role in rendering.of_kind("Role")] == ["pipelines-operator-leader"]
    operator = rendering.pods["pipelines-operator"]
    assert environment(operator["spec"]["containers"][0])["PIPELINES_NAMESPACES"] == ""
    (binding,) = rendering.of_kind("ValidatingAdmissionPolicyBinding")
    assert "matchResources" not in binding["spec"]
    runners = [a for a in rendering.of_kind("ServiceAccount") if name_of(a) == "pipelines-runner"]
    assert [account["metadata"]["namespace"] for account in runners] == ["a", NAMESPACE]


@pytest.mark.parametrize(
    ("watch", "watched"),
    [({}, [NAMESPACE]), ({"namespaces": ["a", "b"]}, ["a", "b"]), ({"allNamespaces": True}, [])],
    ids=["default", "listed", "all"],
)
def test_runs_reach_the_operator_from_watched_namespaces(watch: dict[str, Any], watched: list[str]) -> None:
    rendering = render(merged(DEV, {"watch": watch, "networkPolicy": {"enabled": True}}))
    runner = {"app.kubernetes.io/component": "runner", "app.kubernetes.io/managed-by": "pipelines"}
    for name in ("pipelines-operator", "pipelines-dev-services"):
        rules = rendering.get("NetworkPolicy", name)["spec"]["ingress"]
        peers = [peer for rule in rules for peer in rule["from"] if "namespaceSelector" in peer]
        assert peers == [{"namespaceSelector": selecting(*watched), "podSelector": {"matchLabels": runner}}]


def test_watched_namespaces_have_roles_and_the_cluster_tells_only_whether_they_exist() -> None:
    rendering = render(merged(REQUIRED, {"watch": {"namespaces": ["a", "b"]}, "runner": {"namespaces": ["b", "c"]}}))
    (whole,) = rendering.of_kind("ClusterRole")
    assert whole["rules"] == [{"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]}]
    roles = [role for role in rendering.of_kind("Role") if name_of(role) == "pipelines-operator"]
    assert [role["metadata"]["namespace"] for role in roles] == ["a", "b"]
    runners = [a for a in rendering.of_kind("ServiceAccount") if name_of(a) == "pipelines-runner"]
    assert [account["metadata"]["namespace"] for account in runners] == ["a", "b", "c"]
    operator = rendering.pods["pipelines-operator"]
    assert environment(operator["spec"]["containers"][0])["PIPELINES_NAMESPACES"] == "a,b"
    (binding,) = rendering.of_kind("ValidatingAdmissionPolicyBinding")
    assert binding["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0]["values"] == ["a", "b"]


def test_a_shared_namespace_has_no_policy_and_asks_no_right(required: Rendering) -> None:
    operator = required.pods["pipelines-operator"]["spec"]["containers"][0]
    assert environment(operator)["PIPELINES_TENANCY"] == "Shared"
    assert [name_of(policy) for policy in required.of_kind("ValidatingAdmissionPolicy")] == [
        f"pipelines-created-by.{NAMESPACE}"
    ]
    assert "/namespaces" not in grants(required.get("Role", "pipelines-operator")["rules"])


@pytest.mark.parametrize(
    ("watch", "watched"),
    [({"namespaces": ["a", "b"]}, ["a", "b"]), ({"allNamespaces": True}, [])],
    ids=["listed", "all"],
)
def test_a_namespace_per_organization_is_kept_by_policy_and_operator(
    required: Rendering, watch: dict[str, Any], watched: list[str]
) -> None:
    rendering = render(merged(REQUIRED, {"watch": watch, "tenancy": {"mode": "NamespacePerOrganization"}}))
    operator = rendering.pods["pipelines-operator"]["spec"]["containers"][0]
    assert OperatorSettings(env="dev", tenancy=environment(operator)["PIPELINES_TENANCY"]).tenancy is PER_ORGANIZATION
    name = f"pipelines-tenancy.{NAMESPACE}"
    (rule,) = rendering.get("ValidatingAdmissionPolicy", name)["spec"]["matchConstraints"]["resourceRules"]
    crds = [yaml.safe_load(path.read_text())["spec"]["names"]["plural"] for path in (ROOT / "crds").glob("*.yaml")]
    assert set(rule["resources"]) == set(crds), "nothing of an organization gets in beside it"
    spec = rendering.get("ValidatingAdmissionPolicyBinding", name)["spec"]
    resources = {"matchResources": {"namespaceSelector": selecting(*watched)}} if watched else {}
    assert spec == {"policyName": name, "validationActions": ["Deny"], **resources}
    kind, at, roles = (
        ("Role", "pipelines-operator", 2) if watched else ("ClusterRole", f"pipelines-operator.{NAMESPACE}", 1)
    )
    found = [role for role in rendering.of_kind(kind) if name_of(role) == at]
    assert len(found) == roles
    for role in found:
        more = grants(required.get("Role", "pipelines-operator")["rules"]) | {"/namespaces": {"get"}}
        assert grants(role["rules"]) == more


@pytest.mark.parametrize("tenancy", ["Shared", "NamespacePerOrganization"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_no_part_may_read_a_secret(tenancy: str, everywhere: bool) -> None:
    watch = {"allNamespaces": True} if everywhere else {"namespaces": ["team-a"]}
    rendering = render(merged(REQUIRED, {"tenancy": {"mode": tenancy}, "watch": watch}))
    rules = [rule for kind in ("Role", "ClusterRole") for role in rendering.of_kind(kind) for rule in role["rules"]]
    assert rules
    assert not [rule for rule in rules if {"secrets", "*"} & {*rule["resources"], *rule["apiGroups"]}]
