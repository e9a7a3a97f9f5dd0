"""An API server in memory: enough of Kubernetes' semantics for the operator's calls, and faults on demand.

Kept to what the operator relies on: versions and conflicts, AlreadyExists, preconditions, selectors, and the
status subresource. The real API server has the last word in tests/e2e.
"""

import copy
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline_core.kube.api import Json, KubeError

_PATH = re.compile(
    r"(?:/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<ns>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?P<sub>/status)?"
)
Fault = Callable[[str, str], None]


class FakeKubernetes:
    """Objects by (plural, namespace, name). `before` and `after` a call are asked for a fault, which they raise."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.calls: list[tuple[str, str]] = []
        self.before: Fault = no_faults
        self.after: Fault = no_faults
        self._now = now
        self._version = 0

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Json:
        match = _PATH.fullmatch(path)
        assert match is not None, path
        self.calls.append((method, path))
        self.before(method, path)
        ns, plural, name = match["ns"] or "", match["plural"], match["name"]
        answer = getattr(self, f"_{method.lower()}")(plural, ns, name, query or {}, copy.deepcopy(body or {}))
        self.after(method, path)
        return copy.deepcopy(answer)

    def writes(self) -> list[tuple[str, str]]:
        """The calls that changed something, Events apart."""
        return [(method, path) for method, path in self.calls if method != "GET" and not path.endswith("/events")]

    def put(self, plural: str, body: Json) -> Json:
        """Create or replace an object from outside (a user, the Job controller, the kubelet)."""
        metadata = body.setdefault("metadata", {})
        key = (plural, metadata.setdefault("namespace", "default"), metadata["name"])
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", self._now().strftime("%Y-%m-%dT%H:%M:%SZ"))
        metadata.setdefault("generation", 1)
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self.objects[key] = body
        return body

    def remove(self, plural: str, namespace: str, name: str) -> Json | None:
        """Delete an object from outside."""
        return self.objects.pop((plural, namespace, name), None)

    def _get(self, plural: str, ns: str, name: str | None, query: Mapping[str, str], _: Json) -> Json:
        if name is not None:
            return self._find(plural, ns, name)
        items = [
            body
            for (kind, namespace, _name), body in self.objects.items()
            if kind == plural and ns in {"", namespace} and is_selected(body, query)
        ]
        return {"items": items, "metadata": {"resourceVersion": str(self._version)}}

    def _post(self, plural: str, ns: str, _name: str | None, _query: Mapping[str, str], body: Json) -> Json:
        if (plural, ns, body["metadata"]["name"]) in self.objects:
            raise KubeError(409, "AlreadyExists", f"{plural} {body['metadata']['name']!r} already exists")
        body["metadata"]["namespace"] = ns
        return self.put(plural, body)

    def _patch(self, plural: str, ns: str, name: str | None, _query: Mapping[str, str], body: Json) -> Json:
        current = self._find(plural, ns, name)
        given = body.get("metadata", {})
        if given.get("uid") not in {None, current["metadata"]["uid"]}:
            raise KubeError(409, "Conflict", "the UID in the precondition doesn't match")
        if given.get("resourceVersion") not in {None, current["metadata"]["resourceVersion"]}:
            raise KubeError(409, "Conflict", "the object has been modified")
        if "status" in body:  # a resource of its own
            return self.put(plural, {**current, "status": merge_patch(current.get("status") or {}, body["status"])})
        return self.put(plural, merge_patch(current, body))

    def _put(self, plural: str, ns: str, name: str | None, _query: Mapping[str, str], body: Json) -> Json:
        current = self._find(plural, ns, name)
        if body["metadata"].get("resourceVersion") != current["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", "the object has been modified")
        return self.put(plural, body)

    def _delete(self, plural: str, ns: str, name: str | None, _query: Mapping[str, str], body: Json) -> Json:
        current = self._find(plural, ns, name)
        uid = body.get("preconditions", {}).get("uid")
        if uid not in {None, current["metadata"]["uid"]}:
            raise KubeError(409, "Conflict", "the UID in the precondition doesn't match")
        if plural == "pods" and (current.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}:
            # The kubelet takes its time: the pod stays, marked, until somebody removes it.
            current["metadata"]["deletionTimestamp"] = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
            return self.put(plural, current)
        del self.objects[plural, ns, str(name)]
        return {}

    def _find(self, plural: str, ns: str, name: str | None) -> Json:
        try:
            return self.objects[plural, ns, str(name)]
        except KeyError:
            raise KubeError(404, "NotFound", f"{plural} {name!r} not found") from None


def no_faults(method: str, path: str) -> None:
    """The world is well."""


def fails_job(error: Exception) -> Fault:
    """The creation of a Job raises `error`."""

    def fault(method: str, path: str) -> None:
        if method == "POST" and path.endswith("/jobs"):
            raise error

    return fault


def is_selected(body: Json, query: Mapping[str, str]) -> bool:
    """Whether a list with this query has the object in it: by its labels and by fields, each `=` or `!=`."""
    labels = body["metadata"].get("labels") or {}
    return all(
        (found == value) != is_not
        for selector, find in (("labelSelector", labels.get), ("fieldSelector", lambda path: _field(body, path)))
        for name, is_not, value in _terms(query.get(selector, ""))
        for found in [find(name)]
    )


def _terms(selector: str) -> Iterator[tuple[str, bool, str]]:
    for term in filter(None, selector.split(",")):
        name, _, value = term.partition("=")
        yield name.removesuffix("!"), name.endswith("!"), value


def _field(body: Json, path: str) -> str:
    value: Any = body
    for name in path.split("."):
        value = (value or {}).get(name)
    return "" if value is None else str(value)


def merge_patch(target: Any, patch: Any) -> Any:
    """What a merge patch makes of an object: RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
