"""Follows an organization's pods by a watch, so that no moment is missed: how many are alive, and at most were."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from support.installation import Installation

_TERMINAL = frozenset({"Succeeded", "Failed"})


class PodWatch:
    """The pods of one organization that aren't terminal, as the API server's watch tells of them."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.most = 0
        self.seen: set[str] = set()

    def take(self, event: dict[str, Any]) -> None:
        """One event of the watch."""
        pod = event["object"]
        uid = pod["metadata"]["uid"]
        self.seen.add(uid)
        if event["type"] == "DELETED" or pod["status"].get("phase") in _TERMINAL:
            self.alive.discard(uid)
        else:
            self.alive.add(uid)
        self.most = max(self.most, len(self.alive))


@contextmanager
def watched_pods(installation: Installation, org: str) -> Iterator[PodWatch]:
    """Watch the organization's pods until the end of the block."""
    command = installation.kubectl.command(
        "get", "pods", f"--selector=pipelines.dev/org={org}", "--watch", "--output-watch-events", "--output=json"
    )
    watch = PodWatch()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        reader = threading.Thread(target=_read, args=(process, watch))
        reader.start()
        try:
            yield watch
        finally:
            process.terminate()
            reader.join()


def _read(process: "subprocess.Popen[str]", watch: PodWatch) -> None:
    assert process.stdout is not None
    decoder, text = json.JSONDecoder(), ""
    for line in process.stdout:
        text += line
        try:
            event, _ = decoder.raw_decode(text)
        except json.JSONDecodeError:
            continue  # an object may be printed over several lines
        watch.take(event)
        text = ""
