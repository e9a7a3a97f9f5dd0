"""The quick start's steps, in their order."""

import os
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local import progress
from pipeline_local.backends import Backend
from pipeline_local.forwarding import forward_commands, reachable
from pipeline_local.images_content import checkout
from pipeline_local.kubeconfig import NAMESPACE
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths
from pipeline_local.quickstart import accounts, checks, commands, credentials, over_http, refusal, results, run, source
from pipeline_local.quickstart.costs import Costs
from pipeline_local.quickstart.export import DAYS, billing_export
from pipeline_local.setup import set_up
from pipeline_local.state import State

ORG = "acme"
# Wide enough for whoever goes on trying things after the tour.
PLAN = (
    "--status", "ACTIVE", "--plan", "professional", "--per-day", "1000", "--per-month", "20000", "--concurrent", "10",
)  # fmt: skip

_LABEL = "quickstart"


def tour(console: Console) -> None:
    """Go through all of it. Raises LocalError where anything isn't as promised."""
    begun = time.monotonic()
    paths = Paths.from_environment()
    state = State(paths.state)
    kubectl = Kubectl(paths, NAMESPACE)
    last_day = datetime.now(UTC).date() - timedelta(days=1)
    first_day = last_day - timedelta(days=DAYS - 1)
    checks.check_machine(paths)
    with ThreadPoolExecutor(1) as background, progress.reporter(console) as reporter:
        export = background.submit(billing_export, last_day)
        backend = set_up(paths, state, reporter)
    with reachable(backend, kubectl, state):
        # for Google's client and our settings, as `pipelines local env` does for a shell
        os.environ.update(state.exports)
        client = bigquery_client(BigQuerySettings())
        with (
            progress.reporter(console) as reporter,
            reporter.step("Loading a billing export into the customer's project"),
        ):
            source.load(client, export.result())
        console.print(f"\nThe organization {ORG}, its plan, and where its bills are", style="bold", highlight=False)
        commands.prepare(console, ORG, *PLAN)
        console.print("\nIts keys for OpenAI and Anthropic, one of them sealed", style="bold", highlight=False)
        credentials.give(console, kubectl, ORG, accounts.seen_by_pods(backend, kubectl, state), paths.state)
        finished = _run_all(kubectl, paths, first_day, last_day, console)
        costs = Costs.read(client, state.exports["PIPELINES_SIMULATORS_URL"], first_day, last_day)
        results.show_and_check(kubectl, client, finished, costs, console)
        over_http.show_and_check(client, finished[commands.PROVIDER], console)
        refusal.show_and_check(kubectl, checkout(), paths.state / "quickstart-refused.yaml", console)
        costs.show_and_check_view(client, console)
    passed = int(time.monotonic() - begun)
    console.print(f"\nAll figures agree. It took {passed // 60}:{passed % 60:02d} minutes.", highlight=False)
    _say_what_next(console, backend, kubectl, state, last_day)


def _run_all(
    kubectl: Kubectl, paths: Paths, first_day: date, last_day: date, console: Console
) -> dict[str, dict[str, Any]]:
    """The runs of all providers, applied at once and completed, by provider."""
    documents = run.manifests(checkout(), first_day, last_day)
    run.apply_anew(kubectl, list(documents.values()), paths.state / "quickstart.yaml", console, label=_LABEL)
    names = {provider: document["metadata"]["name"] for provider, document in documents.items()}
    return run.follow(kubectl, names, _LABEL, console)


def _say_what_next(console: Console, backend: Backend, kubectl: Kubectl, state: State, last_day: date) -> None:
    pipelines = _shown(checkout() / ".venv" / "bin" / "pipelines")
    steps = {
        f'eval "$({pipelines} local env)"': "kubectl, helm and pipelines for this cluster",
        "kubectl get plr -o wide": "the runs, and what they were told",
        f"{pipelines} quota show": "what each organization may run, and has run",
        "kubectl replace --force -f examples/run-gcp-billing.yaml": "copy the days that have changed",
        "kubectl describe plr gcp-billing-acme": "what happened to it",
        "kubectl replace --force -f examples/run-openai-usage.yaml": "ask OpenAI's simulator again",
        "kubectl logs -l pipelines.dev/org=acme --tail=20": "what its runner said",
        f'KEY="$({pipelines} keys create acme --name me --scope run --scope read | tail -1)"': "",
        'curl -H "X-API-Key: $KEY" "$PIPELINES_BRIDGE_URL/api/v1/pipelines/history/acme?limit=5"': "",
        f"curl {state.exports['PIPELINES_BRIDGE_URL']}/openapi.json": "the HTTP API; /docs shows it in a browser",
        f"{pipelines} run gcp/cost/billing --local --org acme --date {last_day} --dry-run": "",
        f"{pipelines} local down": "end it; data and caches are kept",
    }
    if backend.name != "embedded":
        forwards = forward_commands(kubectl, state)
        steps = {f"{shlex.join(command)} &": f"reach the {name}" for name, command in forwards.items()} | steps
    lines = (f"  {command:<60}{f'# {meaning}' if meaning else ''}".rstrip() for command, meaning in steps.items())
    console.print("\n".join(("\nWhat to try next:", *lines)), markup=False, highlight=False, soft_wrap=True)


def _shown(path: Path) -> str:
    """A path as a person in the checkout would write it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
