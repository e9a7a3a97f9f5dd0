"""Takes note of every call to the API server: how long it took, how it ended, and what its answer tells of objects."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline_core.kube import names
from pipeline_core.kube.api import Api, Json, KubeError, KubeUnavailableError
from pipeline_operator import metrics
from pipeline_operator.expectations import WATCHED, Expectations

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class _Target:
    """What a path names."""

    namespace: str
    plural: str
    name: str | None


class ObservedApi:
    """`Api` as it is, with metrics and expectations."""

    def __init__(self, api: Api, expectations: Expectations) -> None:
        self._api = api
        self._expectations = expectations

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Json:
        """See `Api`."""
        target = _target(path)
        verb = _VERBS.get(method) or ("get" if target.name else "list")
        code, began = "cancelled", time.perf_counter()
        try:
            answer = await self._api.request(method, path, query=query, body=body)
            code = "2xx"
        except KubeError as error:
            code = str(error.status)
            self._expectations.answered()
            if error.status == 404 and target.name and target.plural in WATCHED:
                self._expectations.told_absent(target.plural, target.namespace, target.name)
            if error.status == 404 and target.name and target.plural == "namespaces":
                self._expectations.told_namespace_gone(target.name)
            raise
        except KubeUnavailableError:
            code = "unavailable"
            raise
        finally:
            metrics.API_REQUESTS.labels(verb, target.plural, code).inc()
            metrics.API_REQUEST_SECONDS.labels(verb, target.plural).observe(time.perf_counter() - began)
        self._expectations.answered()
        if target.plural in WATCHED and verb != "delete":
            self._note(target, answer, (query or {}).get("labelSelector", ""))
        return answer

    def _note(self, target: _Target, answer: Json, selector: str) -> None:
        bodies = answer.get("items", [answer])
        for body in bodies:
            self._expectations.told(target.plural, body)
        run_id = selector.removeprefix(f"{names.LABEL_RUN_ID}=")
        if run_id != selector:
            uids = {body["metadata"]["uid"] for body in bodies}
            self._expectations.told_all(target.plural, target.namespace, run_id, uids)


def _target(path: str) -> _Target:
    """`/api/v1/…` and `/apis/GROUP/VERSION/…`, each with or without `namespaces/NAME/` before the kind."""
    parts = path.split("/")
    parts = parts[3:] if parts[1] == "api" else parts[4:]
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    return _Target(namespace, parts[0], parts[1] if len(parts) > 1 else None)
