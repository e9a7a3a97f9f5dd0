"""Tells the operator how far a run is: one message at a time, the newest state wins, losing one is harmless."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from enum import StrEnum

_TIMEOUT_SECONDS = 2.0
# How long the end of a run waits for its last message; the termination message says the same.
_FLUSH_SECONDS = 1.0
# Close enough to the process's start: what comes before is the interpreter's.
_BEGAN = time.monotonic()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow none: urllib would send the token on to wherever it leads. The answer counts as an error then."""


class Stage(StrEnum):
    """The stages of a processor; all but the first are reported."""

    VALIDATE = "validate"
    EXTRACT = "extract"
    TRANSFORM = "transform"
    LOAD = "load"


# The part of the run's 0 to 100 that each stage takes.
_SPANS = {Stage.VALIDATE: (0, 0), Stage.EXTRACT: (0, 50), Stage.TRANSFORM: (50, 75), Stage.LOAD: (75, 100)}


class Progress:
    """Where progress goes; this one keeps it to itself."""

    def report(self, stage: Stage, fraction: float, records: int = 0) -> None:
        """Say that `fraction` (0 to 1) of the stage is done, with so many records so far. Never blocks or raises."""

    def published(self, records: int) -> None:
        """Say that the run's rows are published, so many of them: nothing but tidying up is left. Never blocks."""

    def flush(self) -> None:
        """Give the newest message a moment to get through; called once, at the end."""


def percent(stage: Stage, fraction: float) -> int:
    """How much of the whole run that is, 0 to 100."""
    low, high = _SPANS[stage]
    return round(low + (high - low) * min(max(fraction, 0.0), 1.0))


class HttpProgress(Progress):
    """Posts progress to the operator from a thread of its own, so that a slow operator never delays the run."""

    def __init__(self, url: str, token: str, *, run_id: str, pod_uid: str) -> None:
        self._url = url
        # No proxy either: the operator is in the cluster, and the token is for it alone.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._identity = {"run_id": run_id, "pod_uid": pod_uid}
        self._pending: dict[str, object] | None = None
        self._last: tuple[Stage, int] | None = None
        self._done = False
        self._sending = False
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def report(self, stage: Stage, fraction: float, records: int = 0) -> None:
        done = percent(stage, fraction)
        with self._wake:
            if (stage, done) == self._last or self._done:
                return
            self._last = (stage, done)
            self._put({"stage": stage.value, "progress": done, "records": records})

    def published(self, records: int) -> None:
        after = round(time.monotonic() - _BEGAN, 3)
        with self._wake:
            self._done = True  # nothing that comes later may overtake it
            self._put({"stage": Stage.LOAD.value, "progress": 100, "records": records, "published_after": after})

    def flush(self) -> None:
        with self._wake:
            self._wake.wait_for(lambda: self._pending is None and not self._sending, _FLUSH_SECONDS)

    def _put(self, state: Mapping[str, object]) -> None:
        self._pending = {**self._identity, **state}
        if self._thread is None:
            self._thread = threading.Thread(target=self._send_all, name="progress", daemon=True)
            self._thread.start()
        self._wake.notify_all()

    def _send_all(self) -> None:
        while True:
            with self._wake:
                self._sending = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._pending is not None)
                message, self._pending, self._sending = self._pending, None, True
            self._send(message)

    def _send(self, message: object) -> None:
        body = json.dumps(message).encode()
        # The operator's address comes from its own configuration, checked to be http or https.
        request = urllib.request.Request(self._url, data=body, headers=self._headers, method="POST")  # noqa: S310
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS):
                pass
        except (OSError, ValueError, urllib.error.URLError):
            return  # the next message brings the newer state anyway
