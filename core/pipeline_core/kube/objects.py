"""Reads and deletes objects at the API server, as every part does it: absence is an answer, not an error."""

from collections.abc import AsyncIterator, Mapping

from pipeline_core.kube.api import Api, Json, KubeError

_CHUNK = 500


async def get_object(api: Api, path: str) -> Json | None:
    """The object, or None where it isn't there."""
    try:
        return await api.request("GET", path)
    except KubeError as error:
        if error.status == 404:
            return None
        raise


async def list_objects(api: Api, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[Json]:
    """Every object of a list, read in chunks; `query` selects."""
    asked = {**(query or {}), "limit": str(_CHUNK)}
    while True:
        page = await api.request("GET", path, query=asked)
        for item in page["items"]:
            yield item
        token = page["metadata"].get("continue")
        if not token:
            return
        asked["continue"] = token


async def delete_object(api: Api, path: str, uid: str) -> None:
    """Delete the object of this UID and what it owns; its absence is success."""
    body: Json = {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Background",
        # Another object may have taken the name meanwhile; it isn't ours to delete.
        "preconditions": {"uid": uid},
    }
    try:
        await api.request("DELETE", path, body=body)
    except KubeError as error:
        if error.status not in {404, 409}:
            raise
