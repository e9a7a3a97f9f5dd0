"""What the chart makes of its values: security, rights, addresses, secrets, catalog."""

import base64
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from pipeline_core.admission.tenancy import TenancyMode
from pipeline_operator.settings import OperatorSettings, RunnerTemplate
from pipeline_runner.settings import ApiSettings
from support.chart import (
    CHART,
    LOCAL,
    NAMESPACE,
    REQUIRED,
    ROOT,
    Manifest,
    Rendering,
    containers,
    environment,
    merged,
    render,
)

pytestmark = pytest.mark.e2e

PER_ORGANIZATION = TenancyMode.NAMESPACE_PER_ORGANIZATION
PRODUCTION = yaml.safe_load((CHART / "examples" / "values-production.yaml").read_text())
DEV = merged(LOCAL, {"hostNetwork": False})
EVERYTHING = merged(
    PRODUCTION,
    {
        "image": {"pullSecrets": [{"name": "registry"}]},
        "bigquery": {"keySecret": {"name": "bigquery"}},
        "tenancy": {"mode": "NamespacePerOrganization"},
        "operator": {"priorityClassName": "high", "nodeSelector": {"disk": "ssd"}, "labels": {"team": "data"}},
    },
)
RENDERINGS = {"required": REQUIRED, "production": PRODUCTION, "local": LOCAL, "dev": DEV, "everything": EVERYTHING}


@pytest.fixture(scope="module", params=RENDERINGS)
def rendering(request: pytest.FixtureRequest) -> Rendering:
    return render(RENDERINGS[request.param])


@pytest.fixture(scope="module")
def required() -> Rendering:
    return render(REQUIRED)


@pytest.fixture(scope="module")
def local() -> Rendering:
    return render(LOCAL)


@pytest.fixture(scope="module")
def dev() -> Rendering:
    return render(DEV)


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


def test_only_operator_and_bridge_have_a_token(rendering: Rendering) -> None:
    expected = {"pipelines-operator", "pipelines-bridge"}
    tokens = {name for name, pod in rendering.pods.items() if pod["spec"].get("automountServiceAccountToken", True)}
    assert tokens == expected
    for account in rendering.of_kind("ServiceAccount"):
        assert account["automountServiceAccountToken"] is (account["metadata"]["name"] in expected)


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


def projected_catalog(rendering: Rendering) -> dict[str, str]:
    """The catalog as the operator's container sees it: path to text."""
    data = rendering.get("ConfigMap", "pipelines-catalog")["data"]
    (volume,) = (v for v in rendering.pods["pipelines-operator"]["spec"]["volumes"] if v["name"] == "catalog")
    items = volume["configMap"]["items"]
    assert {item["key"] for item in items} == data.keys()
    assert len(items) == len(data)
    return {item["path"]: data[item["key"]] for item in items}


def test_the_catalog_arrives_as_it_stands_in_the_repository(required: Rendering) -> None:
    configs = ROOT / "configs"
    expected = {str(path.relative_to(configs)): path.read_text() for path in configs.rglob("*.yml")}
    assert projected_catalog(required) == expected


def test_values_add_replace_and_remove_files_of_the_catalog(required: Rendering) -> None:
    text = 'pipeline:\n  name: "{{ .Values.env }}"\n\n# a comment\n'
    files = {"demo/test/noop.yml": text, "gcp/cost/billing.yml": "", "anthropic/usage_cost.yml": "b\n"}
    expected = projected_catalog(required) | files
    del expected["gcp/cost/billing.yml"]
    assert projected_catalog(render(merged(REQUIRED, {"catalog": {"files": files}}))) == expected


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


def test_the_database_is_reached_with_the_generated_password(dev: Rendering) -> None:
    data = secret_data(dev, "pipelines-database")
    url = urlsplit(data["url"])
    assert url.password == data["password"]
    assert len(data["password"]) == 40
    assert (url.scheme, url.username, url.path) == ("postgresql", "pipelines", "/pipelines")
    assert (url.hostname, url.port) == (f"pipelines-dev-services.{NAMESPACE}.svc", 5432)
    for pod in ("pipelines-operator", "pipelines-exporter", "pipelines-bridge", "pipelines-test"):
        reference = environment(dev.pods[pod]["spec"]["containers"][0])["PIPELINES_DATABASE_URL"]
        assert reference == {"secretKeyRef": {"name": "pipelines-database", "key": "url"}}
    server = environment(dev.pods["pipelines-dev-services"]["spec"]["containers"][0])
    reference = server["PIPELINES_DEV_POSTGRES_PASSWORD"]
    assert reference == {"secretKeyRef": {"name": "pipelines-database", "key": "password"}}


def test_no_secret_stands_outside_a_secret(dev: Rendering) -> None:
    secrets = ("pipelines-database", "pipelines-progress", "pipelines-bridge")
    known = {value for name in secrets for value in secret_data(dev, name).values()}
    rest = yaml.safe_dump([manifest for manifest in dev.objects if manifest["kind"] != "Secret"])
    assert not [value for value in known if value in rest]


def test_secrets_of_ones_own_are_used_and_none_is_made() -> None:
    values = {
        "database": {"existingSecret": "supabase", "existingSecretKey": "pooler"},
        "progress": {"existingSecret": "hmac", "existingSecretKey": "k"},
        "bridge": {"pepper": {"existingSecret": "keys", "existingSecretKey": "p"}},
    }
    rendering = render(merged(REQUIRED, values))
    assert rendering.of_kind("Secret") == []
    operator = environment(rendering.pods["pipelines-operator"]["spec"]["containers"][0])
    assert operator["PIPELINES_DATABASE_URL"] == {"secretKeyRef": {"name": "supabase", "key": "pooler"}}
    assert operator["PIPELINES_PROGRESS_KEY"] == {"secretKeyRef": {"name": "hmac", "key": "k"}}
    bridge = environment(rendering.pods["pipelines-bridge"]["spec"]["containers"][0])
    assert bridge["PIPELINES_API_KEY_PEPPER"] == {"secretKeyRef": {"name": "keys", "key": "p"}}


def test_the_databases_authority_is_mounted_where_the_database_is_used() -> None:
    rendering = render(merged(REQUIRED, {"database": {"caSecret": {"name": "postgres-ca", "key": "root.pem"}}}))
    expected = {
        "name": "database-ca",
        "secret": {
            "secretName": "postgres-ca",
            "defaultMode": 0o444,
            "items": [{"key": "root.pem", "path": "ca.crt"}],
        },
    }
    used = 0
    for pod in rendering.pods.values():
        assert expected in pod["spec"]["volumes"]
        for container in containers(pod):
            (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "database-ca")
            assert mount["readOnly"] is True
            assert environment(container)["PGSSLROOTCERT"] == mount["mountPath"] + "/ca.crt"
            used += 1
    assert used == 7, "operator, exporter, bridge, the migration of each, and helm test"


def test_without_an_authority_nothing_is_said_about_it(required: Rendering) -> None:
    for pod in required.pods.values():
        assert not [v for v in pod["spec"].get("volumes", []) if v["name"] == "database-ca"]
        assert not [c for c in containers(pod) if "PGSSLROOTCERT" in environment(c)]


def test_the_operators_image_names_the_public_authorities() -> None:
    lines = (ROOT / "images" / "operator" / "Containerfile").read_text().splitlines()
    assert "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt" in {line.strip() for line in lines}


def test_the_notes_name_what_an_organization_needs() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    assert "pipelines org create" in notes
    assert "pipelines integration set" in notes


def test_a_bigquery_key_is_mounted_where_it_is_used() -> None:
    rendering = render(merged(REQUIRED, {"bigquery": {"keySecret": {"name": "bigquery", "key": "sa.json"}}}))
    expected = {
        "name": "bigquery-key",
        "secret": {
            "secretName": "bigquery",
            "defaultMode": 0o444,
            "items": [{"key": "sa.json", "path": "key.json"}],
        },
    }
    runner = rendering.runner_template()
    exporter = rendering.pods["pipelines-exporter"]["spec"]
    assert runner["volumes"] == [expected]
    assert expected in exporter["volumes"]
    assert runner["volumeMounts"][0] in exporter["containers"][0]["volumeMounts"]
    for env in (environment(runner), environment_of_exporter(rendering)):
        assert env["GOOGLE_APPLICATION_CREDENTIALS"] == runner["volumeMounts"][0]["mountPath"] + "/key.json"
    operator = rendering.pods["pipelines-operator"]["spec"]
    assert expected not in operator["volumes"], "the operator never speaks to BigQuery"


def test_each_organization_has_its_own_keyset_or_key_and_nothing_reads_secrets() -> None:
    rendering = render(REQUIRED)
    template = rendering.runner_template()
    assert environment_of_operator(rendering)["PIPELINES_KEYSET_SECRET"] == "pipelines-keyset-{org}"
    assert not [name for name in environment(template) if name.startswith("PIPELINES_CREDENTIALS_")]
    key = "gcp-kms://projects/p/locations/global/keyRings/pipelines/cryptoKeys/{org}"
    values = {"keysetSecret": "", "sealedOnly": True, "kms": {"key": key, "endpoint": "kms.example.com:443"}}
    rendering = render(merged(REQUIRED, {"credentials": values}))
    template = rendering.runner_template()
    assert environment_of_operator(rendering)["PIPELINES_KEYSET_SECRET"] == ""
    assert environment(template)["PIPELINES_CREDENTIALS_SEALED_ONLY"] == "true"
    assert environment(template)["PIPELINES_CREDENTIALS_KMS_KEY"] == key
    assert environment(template)["PIPELINES_CREDENTIALS_KMS_ENDPOINT"] == "kms.example.com:443"


@pytest.mark.parametrize("tenancy", ["Shared", "NamespacePerOrganization"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_no_part_may_read_a_secret(tenancy: str, everywhere: bool) -> None:
    watch = {"allNamespaces": True} if everywhere else {"namespaces": ["team-a"]}
    rendering = render(merged(REQUIRED, {"tenancy": {"mode": tenancy}, "watch": watch}))
    rules = [rule for kind in ("Role", "ClusterRole") for role in rendering.of_kind(kind) for rule in role["rules"]]
    assert rules
    assert not [rule for rule in rules if {"secrets", "*"} & {*rule["resources"], *rule["apiGroups"]}]


def test_the_operator_understands_the_runner_template(rendering: Rendering) -> None:
    template = rendering.runner_template()
    assert RunnerTemplate.model_validate(template).model_dump() == template


# What the operator of the first version that came to clusters understands: it refuses a template with anything else.
UNDERSTOOD_BY_ALL = {
    *("image", "imagePullPolicy", "serviceAccountName", "hostNetwork", "resources", "nodeSelector", "tolerations"),
    *("imagePullSecrets", "env", "volumes", "volumeMounts", "labels", "annotations"),
}


def test_operators_of_the_version_before_understand_the_runner_template(rendering: Rendering) -> None:
    # They go on until the new ones are ready, and the kubelet brings them the new file.
    assert rendering.runner_template().keys() <= UNDERSTOOD_BY_ALL


def test_the_least_runner_template(required: Rendering) -> None:
    template = required.runner_template()
    assert template.keys() == RunnerTemplate.model_fields.keys()
    assert template["image"] == "localhost/pipelines-runner:0.1.0"
    for name in ("imagePullSecrets", "tolerations", "volumes", "volumeMounts"):
        assert template[name] == []
    for name in ("nodeSelector", "labels", "annotations"):
        assert template[name] == {}


def test_runs_are_placed_as_the_values_say() -> None:
    runner = {
        "nodeSelector": {"pool": "etl"},
        "tolerations": [{"key": "etl", "operator": "Exists"}],
        "labels": {"team": "data"},
        "annotations": {"note": "yes"},
        "env": [{"name": "PIPELINES_X", "value": "1"}],
        "logLevel": "DEBUG",
    }
    values = merged(REQUIRED, {"runner": runner, "image": {"pullSecrets": [{"name": "registry"}]}})
    template = render(values).runner_template()
    for name in ("nodeSelector", "tolerations", "labels", "annotations"):
        assert template[name] == runner[name]
    assert template["imagePullSecrets"] == [{"name": "registry"}]
    assert environment(template)["PIPELINES_LOG_LEVEL"] == "DEBUG"
    assert environment(template)["PIPELINES_X"] == "1"


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


def test_a_changed_runner_template_restarts_the_operator_and_a_changed_catalog_does_not(required: Rendering) -> None:
    def annotations(values: dict[str, Any]) -> dict[str, str]:
        metadata = render(merged(values, {"progress": {"existingSecret": "k"}})).pods["pipelines-operator"]["metadata"]
        return dict(metadata["annotations"])

    path = "gcp/cost/billing.yml"
    before = annotations(dict(REQUIRED))
    assert annotations(merged(REQUIRED, {"runner": {"logLevel": "DEBUG"}})) != before
    assert annotations(merged(REQUIRED, {"catalog": {"files": {path: "changed"}}})) == before


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


def labels_of(deployment: Manifest) -> dict[str, str]:
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def name_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["name"])


def selecting(*namespaces: str) -> Manifest:
    """What selects these namespaces; every one where none is named."""
    if not namespaces:
        return {}
    expression = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
    return {"matchExpressions": [expression]}


def bound(rendering: Rendering, kind: str) -> set[tuple[str, str]]:
    """Which role each ServiceAccount has."""
    bindings = rendering.of_kind(kind)
    return {(binding["roleRef"]["name"], subject["name"]) for binding in bindings for subject in binding["subjects"]}


def environment_of_operator(rendering: Rendering) -> dict[str, Any]:
    return environment(rendering.pods["pipelines-operator"]["spec"]["containers"][0])


def environment_of_exporter(rendering: Rendering) -> dict[str, Any]:
    return environment(rendering.pods["pipelines-exporter"]["spec"]["containers"][0])


def secret_data(rendering: Rendering, name: str) -> dict[str, str]:
    data = rendering.get("Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def grants(rules: list[Manifest]) -> dict[str, set[str]]:
    """What rules allow: group/resource to verbs."""
    allowed: dict[str, set[str]] = {}
    for rule in rules:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                allowed.setdefault(f"{group}/{resource}", set()).update(rule["verbs"])
    return allowed


def test_the_migration_asks_for_what_its_workload_asks_for(required: Rendering) -> None:
    raised = render(merged(REQUIRED, {"operator": {"resources": {"requests": {"cpu": "2"}}}}))
    for rendered, of_the_operator in ((required, "100m"), (raised, "2")):
        specs = {name: pod["spec"] for name, pod in rendered.pods.items() if "initContainers" in pod["spec"]}
        assert specs.keys() == {"pipelines-operator", "pipelines-exporter", "pipelines-bridge"}
        for spec in specs.values():
            assert spec["initContainers"][0]["resources"] == spec["containers"][0]["resources"]
        operator = specs["pipelines-operator"]["initContainers"][0]
        assert operator["resources"]["requests"]["cpu"] == of_the_operator


def test_the_packages_of_processors_reach_all_who_judge_them(required: Rendering) -> None:
    rendering = render(merged(REQUIRED, {"processors": {"packages": ["acme-invoices", "other"]}}))
    for found, expected in ((rendering, "acme-invoices,other"), (required, "")):
        pods = [containers(found.pods[f"pipelines-{name}"])[-1] for name in ("operator", "bridge")]
        for variables in (*map(environment, pods), environment(found.runner_template())):
            assert variables["PIPELINES_PROCESSOR_PACKAGES"] == expected
