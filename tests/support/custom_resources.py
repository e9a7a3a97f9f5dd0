"""The custom resources at a real API server: specs, a namespace for them, and what it refuses."""

import copy
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubernetes import client

from support.local_cluster import api_client, install_crds, refusal

VERSION = "pipelines.dev/v1alpha1"
# A provider that no catalog has: where an operator is running, it refuses these runs at once.
SPEC = {"org": "acme", "provider": "nowhere", "domain": "cost", "pipeline": "billing"}
CRON = {**SPEC, "cronExpression": "0 */6 * * *"}
ABSENT = object()


def with_spec(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A spec with changes; what is ABSENT in them is left out."""
    spec = {**copy.deepcopy(dict(base)), **changes}
    return {name: value for name, value in spec.items() if value is not ABSENT}


class Resource:
    """One of the two resources in a namespace; every write is strictly validated."""

    def __init__(self, namespace: str, kind: str) -> None:
        self._api = client.CustomObjectsApi(api_client())
        self._kind = kind
        self._where = ("pipelines.dev", "v1alpha1", namespace, f"{kind.lower()}s")

    def create(self, spec: Any, *, name: str = "one", keep: bool = False, **more: Any) -> dict[str, Any]:
        body = {"apiVersion": VERSION, "kind": self._kind, "metadata": {"name": name}, "spec": spec, **more}
        return dict(
            self._api.create_namespaced_custom_object(
                *self._where, body, field_validation="Strict", **({} if keep else {"dry_run": "All"})
            )
        )

    def change(self, name: str, spec: Mapping[str, Any], *, keep: bool = False) -> dict[str, Any]:
        """Merge `spec` into the object's; None removes a field."""
        return dict(
            self._api.patch_namespaced_custom_object(
                *self._where, name, {"spec": spec}, field_validation="Strict", **({} if keep else {"dry_run": "All"})
            )
        )

    def change_status(self, name: str, status: Mapping[str, Any]) -> dict[str, Any]:
        return dict(
            self._api.patch_namespaced_custom_object_status(
                *self._where, name, {"status": status}, field_validation="Strict", dry_run="All"
            )
        )


@contextmanager
def fresh_namespace(prefix: str) -> Iterator[str]:
    """A namespace of its own in a cluster that has the CRDs of this checkout."""
    install_crds()
    core = client.CoreV1Api(api_client())
    name = f"{prefix}-{secrets.token_hex(4)}"
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)


def assert_refused(error: client.ApiException, words: list[str]) -> None:
    """The API server has refused what was sent, in these words."""
    message = refusal(error)
    assert error.status in (400, 422), message
    for word in words:
        assert word in message, f"{word!r} isn't in: {message}"
