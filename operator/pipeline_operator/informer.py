"""kopf as the informer: it lists and watches, and hands every event on.

The only module that imports kopf. There are event handlers alone: no finalizers, no annotations, no patches by kopf.
"""

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import kopf
import uvloop

from pipeline_core.kube import names
from pipeline_operator.expectations import WATCHED
from pipeline_operator.intake import Intake

# Where Kubernetes mounts a pod's service account.
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# The kubelet renews the mounted token; it is read again this often.
_TOKEN_READ_AGAIN = timedelta(minutes=10)
# kopf waits up to five seconds for its own tasks.
_STOP_SECONDS = 8.0
_OURS = (names.GROUP, names.VERSION)
_GROUPS = {"jobs": ("batch", "v1"), "pods": ("", "v1")}


class WatchEndedError(Exception):
    """The watches have ended by themselves: nothing may go on blind."""


class Informer:
    """Watches the runs, the schedules, and the Jobs and pods made for runs, or some of these `kinds`.

    kopf gets a thread and an event loop of its own: it takes over a main thread's signals, and when it ends it cancels
    every task of its loop that is younger than itself. What it sees is handed to the caller's loop, in order.
    """

    def __init__(self, intake: Intake, namespaces: Sequence[str], kinds: Collection[str] = WATCHED) -> None:
        self._intake = intake
        self._kinds = kinds
        self._namespaces = namespaces
        self._loop = asyncio.get_running_loop()
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._handed: deque[Callable[[], None]] = deque()
        self._waking = False
        # A line for each event of each object would bury a run's story.
        logging.getLogger("kopf").setLevel(logging.WARNING)
        # It warns that it doesn't hear signals in this thread, which is what the thread is for.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)

    @property
    def is_ready(self) -> bool:
        """Whether the watches have started."""
        return self._ready.is_set()

    async def run(self) -> None:
        """Watch until cancelled. Raises WatchEndedError if the watches end before that."""
        watching = self._loop.run_in_executor(None, self._watch)
        try:
            await asyncio.shield(watching)
        except asyncio.CancelledError:
            self._stop.set()
            await asyncio.wait([watching], timeout=_STOP_SECONDS)
            raise
        except Exception as error:
            raise WatchEndedError(f"the watches have ended: {type(error).__name__}: {error}") from error
        raise WatchEndedError("the watches have ended")

    def _watch(self) -> None:
        """In a thread of its own."""
        registry = kopf.OperatorRegistry()
        self._register(registry)
        uvloop.run(self._operate(registry))

    async def _operate(self, registry: kopf.OperatorRegistry) -> None:
        try:
            await kopf.operator(
                registry=registry,
                settings=_settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=list(self._namespaces),
                ready_flag=self._ready,
                stop_flag=self._stop,
            )
        finally:
            # kopf waits for this flag in a thread of its own, without which the loop doesn't close: one watch that is
            # refused for good ends all of them, and nobody would hear of it.
            self._stop.set()

    def _register(self, registry: kopf.OperatorRegistry) -> None:
        kopf.on.login(registry=registry)(_login)
        for kind in self._kinds:
            kopf.on.event(*_GROUPS.get(kind, _OURS), kind, registry=registry)(self._seen(kind))

    def _seen(self, plural: str) -> Callable[..., Coroutine[Any, Any, None]]:
        async def handler(type: str | None, event: Any, **_: Any) -> None:  # noqa: A002 - kopf's name
            self._handed.append(partial(self._intake.take, plural, event["object"], gone=type == "DELETED"))
            # Waking the other loop is a system call: once for all that it hasn't come to yet.
            if not self._waking:
                self._waking = True
                self._loop.call_soon_threadsafe(self._take)

        handler.__name__ = f"on_{plural}"
        return handler

    def _take(self) -> None:
        self._waking = False  # before the last look, or an event that comes right after it would wait for the next
        while self._handed:
            self._loop.call_soon(self._handed.popleft())


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    # What ends a connection that has died without a word: the API server sends a bookmark every 60 s.
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.watching.label_selectors["batch", "v1", "jobs"] = names.LABEL_RUN_ID
    settings.watching.label_selectors["", "v1", "pods"] = names.LABEL_RUN_ID
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.queueing.idle_timeout = 1.0
    # Never written, as there are no handlers that need it; named so that it could be told apart.
    settings.persistence.finalizer = f"{names.GROUP}/operator"
    settings.persistence.diffbase_storage = _NoDifferences()
    return settings


class _NoDifferences(kopf.DiffBaseStorage):
    """Keeps nothing to compare an object with: else kopf copies each object of each event twice, for no handler."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[kopf.FieldSpec] | None = None) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        pass


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
