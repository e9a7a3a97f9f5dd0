"""Addresses of objects at the API server."""

from urllib.parse import quote

from pipeline_core.kube import names

CORE = "/api/v1"
BATCH = "/apis/batch/v1"
PIPELINES = f"/apis/{names.API_VERSION}"
COORDINATION = "/apis/coordination.k8s.io/v1"


def resource_path(group: str, namespace: str | None, plural: str, name: str | None = None) -> str:
    """The path of an object, or of all of a kind in a namespace (None: in all); `group` is one of those above.

    Raises ValueError for a namespace or a name that can't stand in a path: it would be the path of something else.
    """
    found = group + (f"/namespaces/{_segment(namespace)}" if namespace is not None else "") + f"/{plural}"
    return f"{found}/{_segment(name)}" if name is not None else found


def _segment(name: str) -> str:
    # Clients and proxies take the two dots away with what is before them (RFC 3986, section 5.2.4).
    if name in {"", ".", ".."}:
        raise ValueError(f"{name!r}: expected the name of an object")
    return quote(name, safe="")
