"""Addresses at the API server: a name is one part of them, whatever is in it."""

import pytest

from pipeline_core.kube.paths import CORE, PIPELINES, resource_path


def test_the_addresses_of_objects() -> None:
    assert resource_path(PIPELINES, "t", "pipelineruns", "r") == (
        "/apis/pipelines.dev/v1alpha1/namespaces/t/pipelineruns/r"
    )
    assert resource_path(CORE, None, "pods") == "/api/v1/pods"
    assert resource_path(CORE, "t", "pods", "a/../../secrets/x?y") == (
        "/api/v1/namespaces/t/pods/a%2F..%2F..%2Fsecrets%2Fx%3Fy"
    )
    assert resource_path(CORE, "t/pods", "pods") == "/api/v1/namespaces/t%2Fpods/pods"


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_what_would_be_the_address_of_something_else_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected the name of an object"):
        resource_path(CORE, name, "pods")
    with pytest.raises(ValueError, match="expected the name of an object"):
        resource_path(CORE, "t", "pods", name)
