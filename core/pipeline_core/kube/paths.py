"""Addresses of objects at the API server."""

from urllib.parse import quote

from pipeline_core.kube import names

CORE = "/api/v1"
BATCH = "/apis/batch/v1"
PIPELINES = f"/apis/{names.API_VERSION}"
COORDINATION = "/apis/coordination.k8s.io/v1"


def resource_path(group: str, namespace: str | None, plural: str, name: str | None = None) -> str:
    """The path of an object, or of all of a kind in a namespace (None: in all); `group` is one of those above."""
    found = group + (f"/namespaces/{quote(namespace)}" if namespace else "") + f"/{plural}"
    return f"{found}/{quote(name)}" if name else found
