"""The quick start's PipelineRuns: applied anew, and followed until they end."""

import json
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

EXAMPLES = {
    "gcp": "run-gcp-billing-range.yaml",
    "openai": "run-openai-usage.yaml",
    "anthropic": "run-anthropic-usage.yaml",
}
"""The example of each provider, in the order in which they are shown."""
ENDS_WITHIN = 300.0
"""Seconds."""

_FINAL = ("Completed", "Failed", "Cancelled")
# By which the runs that belong together are watched.
_LABEL = "example"


def manifests(root: Path, first_day: date, last_day: date) -> dict[str, dict[str, Any]]:
    """The examples by provider, with the days of the generated export and names of their own."""
    documents = {}
    for provider, example in EXAMPLES.items():
        document: dict[str, Any] = yaml.safe_load((root / "examples" / example).read_text())
        document["metadata"]["name"] = f"{provider}-acme-quickstart"
        document["spec"]["parameters"] = {"start_date": str(first_day), "end_date": str(last_day)}
        documents[provider] = document
    return documents


def apply_anew(
    kubectl: Kubectl, documents: Sequence[dict[str, Any]], file: Path, console: Console, *, label: str
) -> None:
    """Write manifests to one file and apply it, in place of earlier runs of their names. All get the label.

    A run happens once: to have it again, its object is deleted and applied anew, under a new run id.
    """
    for document in documents:
        document["metadata"]["labels"] = {_LABEL: label}
    write_atomically(file, yaml.safe_dump_all(documents, sort_keys=False))
    named = [document["metadata"]["name"] for document in documents]
    kubectl("delete", "plr", *named, "--ignore-not-found", "--wait", "--timeout=60s")
    console.print(f"\n$ kubectl apply -f {file}", markup=False, highlight=False, soft_wrap=True)
    console.print(kubectl("apply", f"--filename={file}").strip(), markup=False, highlight=False)


def follow(
    kubectl: Kubectl, names: Mapping[str, str], label: str, console: Console, *, ends_as: str = "Completed"
) -> dict[str, dict[str, Any]]:
    """Show how far the runs of a label are until all have ended; their objects as they are then.

    `names` are the objects' names, by what each is shown as.
    Raises LocalError where one ends otherwise, or not in time.
    """
    command = kubectl.command("get", "plr", f"--selector={_LABEL}={label}", "--watch", "--output=json")
    shown_as = {name: title for title, name in names.items()}
    running = set(shown_as)
    with ExitStack() as stack:
        shown = stack.enter_context(view(console))
        watch = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(watch.kill)
        timer = threading.Timer(ENDS_WITHIN, watch.kill)
        timer.start()
        stack.callback(timer.cancel)
        assert watch.stdout is not None  # noqa: S101
        for seen in _objects(watch.stdout):
            if (name := seen["metadata"]["name"]) not in running:
                continue
            status = _status(seen)
            phase = status.get("phase", "Pending")
            shown.show(phase, status.get("progress", 0), status.get("recordsProcessed"), shown_as[name])
            if phase in _FINAL:
                running.remove(name)
            if not running:
                break
    runs: dict[str, dict[str, Any]] = {title: kubectl.read("plr", name) for title, name in names.items()}
    for run in runs.values():
        _check_end(kubectl, run, ends_as)
    return runs


def _check_end(kubectl: Kubectl, run: Mapping[str, Any], ends_as: str) -> None:
    name, status = run["metadata"]["name"], _status(run)
    if status.get("phase") != ends_as:
        told = status.get("message") or "no message"
        ended = "ended as" if status.get("phase") in _FINAL else f"did not end within {ENDS_WITHIN:.0f} s and is"
        raise LocalError(
            f"the run {name} {ended} {status.get('phase', 'not seen by the operator')}: {told}\n"
            + diagnosis.of_pods(kubectl)
        )


def _objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The objects of a watch: kubectl prints one after the other, each ending with a brace at a line's beginning."""
    text = ""
    for line in lines:
        text += line
        if line.startswith("}"):
            yield json.loads(text)
            text = ""


def _status(run: Mapping[str, Any]) -> dict[str, Any]:
    """The run's status; empty until the operator has seen it."""
    return run.get("status") or {}
