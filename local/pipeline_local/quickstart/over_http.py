"""The quick start's run once more, asked for by HTTP: with a key of its own, and with the same figures in the end."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from google.cloud import bigquery
from rich.console import Console

from pipeline_local.errors import LocalError
from pipeline_local.quickstart import commands, results
from pipeline_local.quickstart.calls import Calls
from pipeline_local.quickstart.run import ENDS_WITHIN
from pipeline_local.quickstart.view import view

KEY = ("--name", "quickstart", "--scope", "run", "--scope", "read", "--expires", "1h")
_POLL_SECONDS = 0.5
_FINAL = ("completed", "failed", "cancelled")


def show_and_check(client: bigquery.Client, first: Mapping[str, Any], console: Console) -> None:
    """Make a key, ask for the run of the completed PipelineRun `first` once more, follow it, and end the key.

    Raises LocalError naming what isn't as it should be.
    """
    console.print("\nThe run of Google Cloud once more, by HTTP", style="bold", highlight=False)
    org, parameters = first["spec"]["org"], first["spec"]["parameters"]
    key = make_key(console, org)
    try:
        calls = Calls(console, os.environ["PIPELINES_BRIDGE_URL"], key)
        path = "/".join(first["spec"][name] for name in ("org", "provider", "domain", "pipeline"))
        run_id = calls("POST", f"/api/v1/pipelines/run/{path}", parameters)["run_id"]
        _follow(calls, f"/api/v1/pipelines/status/{org}/{run_id}", console)
        history = f"/api/v1/pipelines/history/{org}?provider={first['spec']['provider']}&limit=2"
        runs = calls("GET", history)["runs"]
    finally:
        # crash here: the key ends by itself
        commands.pipelines(console, "keys", "revoke", key_id(key))
    check(runs, run_id, first)
    days = results.check_sums(client, first)
    console.print(
        f"The table holds what it held: the same sums, to the last digit, on all {days} days.", highlight=False
    )


def make_key(console: Console, org: str) -> str:
    """A key of the organization for an hour, kept as a person would, in a variable. It isn't shown."""
    arguments = ("keys", "create", org, *KEY)
    console.print(
        f'$ KEY="$(pipelines {" ".join(arguments)} | tail -1)"', markup=False, highlight=False, soft_wrap=True
    )
    return commands.told(*arguments).splitlines()[-1]


def key_id(key: str) -> str:
    """The id in a key: what is between plk_ and the next _. Raises LocalError where it isn't of that form."""
    parts = key.split("_", 2)
    if len(parts) != 3 or parts[0] != "plk":
        raise LocalError("`pipelines keys create` didn't end with a key")
    return parts[1]


def check(runs: Sequence[Mapping[str, Any]], run_id: str, first: Mapping[str, Any]) -> None:
    """Raises LocalError where the history doesn't begin with these two runs, equal in what they were for and copied."""
    expected = [run_id, first["status"]["runId"]]
    if [run["run_id"] for run in runs] != expected:
        raise LocalError(f"the history should begin with {expected}, and is {[run['run_id'] for run in runs]}")
    names = ("status", "provider", "domain", "pipeline", "parameters", "records_processed")
    unequal = {name: [run.get(name) for run in runs] for name in names if runs[0].get(name) != runs[1].get(name)}
    if unequal:
        raise LocalError(f"the run by HTTP isn't the first run once more: {unequal}")
    if runs[0]["records_processed"] != first["status"]["recordsProcessed"]:
        raise LocalError(f"the history has {runs[0]['records_processed']} records, the run's object another number")


def _follow(calls: Calls, path: str, console: Console) -> None:
    """Ask for the status until it is final, show how far the run is, and the last answer.

    Raises LocalError where it ends otherwise than completed, or not in time.
    """
    deadline = time.monotonic() + ENDS_WITHIN
    with view(console) as shown:
        seen: tuple[str, int, int | None] | None = None
        while True:
            status = calls("GET", path, is_shown=False)
            now = (status["status"], status.get("progress", 0), status.get("records_processed"))
            if now != seen:
                shown.show(*now)
                seen = now
            if status["status"] in _FINAL or time.monotonic() > deadline:
                break
            time.sleep(_POLL_SECONDS)
    calls("GET", path)
    if status["status"] != "completed":
        told = status.get("error_message", "no message")
        raise LocalError(f"the run {status['run_id']} is {status['status']} after all: {told}")
