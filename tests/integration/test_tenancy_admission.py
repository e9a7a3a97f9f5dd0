"""What a real API server says to a namespace per organization: the policy refuses others, and what is there goes on."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import yaml
from kubernetes import client
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from pipeline_core.admission.tenancy import TenancyMode, WrongNamespaceError
from pipeline_core.kube import names
from pipeline_core.kube.api import KubeApi, KubeError
from pipeline_core.lifecycle.observed import Run, RunSpec
from pipeline_local.paths import Paths
from pipeline_operator.cluster import Cluster
from pipeline_operator.tenancy import Tenancy
from support.chart import NAMESPACE, REQUIRED, merged, render
from support.impersonation import refused_for
from support.local_cluster import api_client, install_crds, kubectl
from support.waiting import eventually

pytestmark = pytest.mark.e2e

SPEC = {"org": "acme", "provider": "nowhere", "domain": "cost", "pipeline": "billing"}
SPECS = {"pipelineruns": SPEC, "pipelineschedules": {**SPEC, "cronExpression": "@daily"}}
KINDS = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "Role", "RoleBinding")


@dataclass(frozen=True)
class Places:
    """Namespaces under the policy, by whose they are; `shared` isn't watched. `release` is the installation's name."""

    release: str
    acme: str
    globex: str
    nobodys: str
    shared: str

    def message(self, org: str, namespace: str, owner: str | None) -> str:
        return str(WrongNamespaceError(org, namespace, names.LABEL_ORG, owner))


def label(namespace: str, org: str | None) -> None:
    client.CoreV1Api(api_client()).patch_namespace(namespace, {"metadata": {"labels": {names.LABEL_ORG: org}}})


@pytest.fixture(scope="module")
def places() -> Iterator[Places]:
    """With the policy in force, and the chart's Roles for an operator whose ServiceAccount is in `acme`'s namespace."""
    install_crds()
    core = client.CoreV1Api(api_client())
    suffix = secrets.token_hex(4)
    places = Places(f"t{suffix}", *(f"test-{name}-{suffix}" for name in ("acme", "globex", "nobodys", "shared")))
    made = (places.acme, places.globex, places.nobodys, places.shared)
    for namespace in made:
        core.create_namespace({"metadata": {"name": namespace}})
    label(places.acme, "acme")
    label(places.globex, "globex")
    core.create_namespaced_service_account(places.acme, {"metadata": {"name": "operator"}})
    values = {"watch": {"namespaces": list(made[:3])}, "tenancy": {"mode": "NamespacePerOrganization"}}
    account = {"serviceAccounts": {"operator": {"create": False, "name": "operator"}}}
    rendering = render(merged(REQUIRED, values | account), release=places.release)
    objects = [each for kind in KINDS for each in rendering.of_kind(kind) if "-leader" not in each["metadata"]["name"]]
    manifests = yaml.safe_dump_all(objects).replace(f"namespace: {NAMESPACE}\n", f"namespace: {places.acme}\n")
    kubectl("apply", "--filename", "-", stdin=manifests)

    async def in_force() -> bool:
        return all(refused_for("alice", SPECS[kind], places.globex, kind) for kind in SPECS)

    try:
        asyncio.run(eventually(in_force, seconds=30, every=0.1))
        yield places
    finally:
        kubectl("delete", "--wait=false", "--ignore-not-found", "--filename", "-", stdin=manifests)
        for namespace in made:
            core.delete_namespace(namespace)


@pytest.mark.parametrize("kind", SPECS)
def test_an_organization_is_at_home_in_its_own_namespace_alone(places: Places, kind: str) -> None:
    spec = SPECS[kind]
    assert refused_for("alice", spec, places.acme, kind) == ""
    assert places.message("acme", places.globex, "globex") in refused_for("alice", spec, places.globex, kind)
    assert places.message("acme", places.nobodys, None) in refused_for("alice", spec, places.nobodys, kind)


def test_nobody_is_above_it(places: Places) -> None:
    operator = f"system:serviceaccount:{NAMESPACE}:{places.release}-pipelines-operator"
    assert refused_for(operator, SPEC, places.globex)


def test_namespaces_that_are_not_watched_are_left_alone(places: Places) -> None:
    assert refused_for("alice", SPEC, places.shared) == ""


async def test_a_label_counts_from_when_it_is_set_and_leaves_what_is_there(places: Places) -> None:
    runs = client.CustomObjectsApi(api_client())
    where = ("pipelines.dev", "v1alpha1", places.nobodys, "pipelineruns")
    body = {"apiVersion": "pipelines.dev/v1alpha1", "kind": "PipelineRun", "metadata": {"name": "one"}, "spec": SPEC}

    async def allowed() -> bool:
        return refused_for("alice", SPEC, places.nobodys) == ""

    async def refused() -> bool:
        return not await allowed()

    label(places.nobodys, "acme")
    try:
        await eventually(allowed)
        runs.create_namespaced_custom_object(*where, body)
    finally:
        label(places.nobodys, None)
    await eventually(refused)
    runs.patch_namespaced_custom_object_status(*where, "one", {"status": {"phase": "Running"}})
    runs.patch_namespaced_custom_object(*where, "one", {"spec": {"cancel": True}})
    runs.delete_namespaced_custom_object(*where, "one")


async def test_the_operator_says_the_same_with_the_rights_of_its_role(places: Places) -> None:
    account = client.CoreV1Api(api_client()).create_namespaced_service_account_token(
        "operator", places.acme, {"spec": {"expirationSeconds": 600}}
    )
    configuration = Configuration()
    await load_kube_config(str(Paths.from_environment().kubeconfig), client_configuration=configuration)
    configuration.cert_file = configuration.key_file = None
    configuration.api_key = {"BearerToken": f"Bearer {account.status.token}"}
    api = KubeApi(configuration)
    tenancy = Tenancy(Cluster(api), TenancyMode.NAMESPACE_PER_ORGANIZATION, asyncio.get_running_loop().time)

    def run(namespace: str) -> Run:
        spec = RunSpec("acme", "gcp", "cost", "billing")
        return Run(namespace, "one", "uid", "run_one", "1", 1, datetime.now(UTC), spec)

    try:
        await tenancy.check(run(places.acme))
        for namespace, owner in ((places.globex, "globex"), (places.nobodys, None)):
            with pytest.raises(WrongNamespaceError) as caught:
                await tenancy.check(run(namespace))
            assert str(caught.value) == places.message("acme", namespace, owner)
        with pytest.raises(KubeError, match="give the operator the right to get it"):
            await tenancy.check(run(places.shared))
    finally:
        await api.close()
