"""The definitions of runs and schedules at a real API server: their schemas, and the examples that they accept."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes import client

from support.custom_resources import fresh_namespace
from support.local_cluster import api_client, kubectl

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    with fresh_namespace("test-crds") as name:
        yield name


@pytest.mark.parametrize("name", ["pipelineruns", "pipelineschedules"])
def test_the_schema_is_structural(namespace: str, name: str) -> None:
    crd = client.ApiextensionsV1Api(api_client()).read_custom_resource_definition(f"{name}.pipelines.dev")
    conditions = {condition.type: condition.status for condition in crd.status.conditions}
    assert conditions["Established"] == "True"
    assert conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"


def test_the_folder_of_examples_is_accepted(namespace: str) -> None:
    folder = str(ROOT / "examples")
    kubectl("apply", "--dry-run=server", "--validate=strict", "--namespace", namespace, "--filename", folder)
