"""kopf as the informer: it lists and watches, and every event becomes an entry in the cache and a key in the queue.

The only module that imports kopf. There are event handlers alone: no finalizers, no annotations, no patches by kopf.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kopf

from pipeline_operator import names
from pipeline_operator.cache import Cache

# Where Kubernetes mounts a pod's service account.
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# The kubelet renews the mounted token; it is read again this often.
_TOKEN_READ_AGAIN = timedelta(minutes=10)


class Informer:
    """Watches the runs, and the Jobs and pods made for them; `wake` is called with the UID of a run that has news."""

    def __init__(self, cache: Cache, wake: Callable[[str], None], namespaces: Sequence[str]) -> None:
        self._cache = cache
        self._wake = wake
        self._namespaces = namespaces
        self._registry = kopf.OperatorRegistry()
        self.ready = asyncio.Event()
        self._register()

    async def run(self) -> None:
        """Watch until cancelled."""
        await kopf.operator(
            registry=self._registry,
            settings=_settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=list(self._namespaces),
            ready_flag=self.ready,
        )

    def _register(self) -> None:
        registry = self._registry
        kopf.on.login(registry=registry)(_login)
        kopf.on.event(names.GROUP, names.VERSION, names.RUNS, registry=registry)(self._on_run)
        kopf.on.event("batch", "v1", "jobs", registry=registry)(self._on_job)
        kopf.on.event("", "v1", "pods", registry=registry)(self._on_pod)

    async def _on_run(self, type: str | None, event: Any, **_: Any) -> None:  # noqa: A002 - kopf's name
        body = event["object"]
        uid = body["metadata"]["uid"]
        if type == "DELETED":
            self._cache.drop_run(uid)
        else:
            self._cache.put_run(body)
        self._wake(uid)

    async def _on_job(self, type: str | None, event: Any, **_: Any) -> None:  # noqa: A002
        if uid := self._cache.put_job(event["object"], gone=type == "DELETED"):
            self._wake(uid)

    async def _on_pod(self, type: str | None, event: Any, **_: Any) -> None:  # noqa: A002
        if uid := self._cache.put_pod(event["object"], gone=type == "DELETED"):
            self._wake(uid)


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.watching.label_selectors["batch", "v1", "jobs"] = names.LABEL_RUN_ID
    settings.watching.label_selectors["", "v1", "pods"] = names.LABEL_RUN_ID
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.queueing.idle_timeout = 1.0
    # Never written, as there are no handlers that need them; named so that they could be told apart.
    settings.persistence.finalizer = f"{names.GROUP}/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"kopf.{names.GROUP}")
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"kopf.{names.GROUP}")
    return settings


def _login(**kwargs: Any) -> kopf.ConnectionInfo | None:
    """By the environment in a pod, so that an address without the cluster's DNS works; by KUBECONFIG elsewhere."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
    if not host:
        return kopf.login_with_kubeconfig(**kwargs)
    return kopf.ConnectionInfo(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca_path=str(_ACCOUNT / "ca.crt"),
        scheme="Bearer",
        token=(_ACCOUNT / "token").read_text().strip(),
        expiration=datetime.now(UTC) + _TOKEN_READ_AGAIN,
    )
