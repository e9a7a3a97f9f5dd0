"""The quick start's PipelineRun: applied anew, and followed until it ends."""

import json
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from pipeline_local import diagnosis
from pipeline_local.errors import LocalError
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import write_atomically
from pipeline_local.quickstart.view import view

EXAMPLE = "run-gcp-billing-range.yaml"
NAME = "gcp-billing-acme-quickstart"
ENDS_WITHIN = 300.0
"""Seconds."""

_FINAL = ("Completed", "Failed", "Cancelled")


def manifest(root: Path, first_day: date, last_day: date) -> dict[str, Any]:
    """The example for a range of days, with the days of the generated export and a name of its own."""
    document: dict[str, Any] = yaml.safe_load((root / "examples" / EXAMPLE).read_text())
    document["metadata"]["name"] = NAME
    document["spec"]["parameters"] = {"start_date": str(first_day), "end_date": str(last_day)}
    return document


def apply_anew(kubectl: Kubectl, document: dict[str, Any], file: Path, console: Console) -> None:
    """Write the manifest to a file and apply it, in place of an earlier run of that name.

    A run happens once: to have it again, its object is deleted and applied anew, under a new run id.
    """
    write_atomically(file, yaml.safe_dump(document, sort_keys=False))
    kubectl("delete", "plr", document["metadata"]["name"], "--ignore-not-found", "--wait", "--timeout=60s")
    console.print(f"\n$ kubectl apply -f {file}", markup=False, highlight=False, soft_wrap=True)
    console.print(kubectl("apply", f"--filename={file}").strip(), markup=False, highlight=False)


def follow(kubectl: Kubectl, name: str, console: Console, *, ends_as: str = "Completed") -> dict[str, Any]:
    """Show how far the run is until it ends; the object as it is then.

    Raises LocalError where it ends otherwise, or not in time.
    """
    command = kubectl.command("get", "plr", name, "--watch", "--output=json")
    with ExitStack() as stack:
        shown = stack.enter_context(view(console))
        watch = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(watch.kill)
        timer = threading.Timer(ENDS_WITHIN, watch.kill)
        timer.start()
        stack.callback(timer.cancel)
        assert watch.stdout is not None  # noqa: S101
        for status in map(_status, _objects(watch.stdout)):
            shown.show(status.get("phase", "Pending"), status.get("progress", 0), status.get("recordsProcessed"))
            if status.get("phase") in _FINAL:
                break
    run: dict[str, Any] = kubectl.read("plr", name)
    status = _status(run)
    if status.get("phase") != ends_as:
        told = status.get("message") or "no message"
        ended = "ended as" if status.get("phase") in _FINAL else f"did not end within {ENDS_WITHIN:.0f} s and is"
        raise LocalError(
            f"the run {name} {ended} {status.get('phase', 'not seen by the operator')}: {told}\n"
            + diagnosis.of_pods(kubectl)
        )
    return run


def _objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The objects of a watch: kubectl prints one after the other, each ending with a brace at a line's beginning."""
    text = ""
    for line in lines:
        text += line
        if line.startswith("}"):
            yield json.loads(text)
            text = ""


def _status(run: dict[str, Any]) -> dict[str, Any]:
    """The run's status; empty until the operator has seen it."""
    return run.get("status") or {}
