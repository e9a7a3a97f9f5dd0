"""BigQuery is away for longer than an attempt at a run waits: runs go on afterwards, and the history catches up.

Ten minutes in a minute: by a setting an attempt gives up after seconds, not after minutes. The stand-in takes requests
and doesn't answer them, which is worse than a refusal.
"""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest

from pipeline_local.images_content import checkout
from pipeline_local.install import RELEASE, helm
from pipeline_local.state import State
from support.agreement import check_attempts, check_once, check_target
from support.installation import Installation, noop
from support.organizations import empty_organization
from support.victims import Node, embedded_node

ORG = "away"
RETRY_SECONDS = 8
LAG_SECONDS = 30.0


@pytest.fixture
def node(installation: Installation) -> Node:
    return embedded_node(installation)


@pytest.fixture
def impatient(node: Node) -> Iterator[None]:
    """Runners that try each call again for seconds only."""
    paths = node.installation.paths
    setting = [{"name": "PIPELINES_BIGQUERY_RETRY_SECONDS", "value": str(RETRY_SECONDS)}]
    changed = ("--reuse-values", f"--set-json=runner.env={json.dumps(setting)}", "--wait", "--timeout=180s")
    done = helm(paths, "upgrade", RELEASE, str(checkout() / "charts" / "pipelines"), *changed)
    assert done.returncode == 0, done.stderr
    yield
    done = helm(paths, "rollback", RELEASE, "--wait", "--timeout=180s")
    assert done.returncode == 0, done.stderr


@pytest.fixture
def org(node: Node) -> Iterator[str]:
    with empty_organization(node.installation, ORG):
        yield ORG


@pytest.mark.full
@pytest.mark.timeout(900, func_only=True)
@pytest.mark.usefixtures("impatient")
def test_runs_outlast_an_outage_and_the_history_catches_up(node: Node, org: str) -> None:
    installation = node.installation
    last = installation.last_day
    spec = {"org": org, "parameters": {"start_date": str(last - timedelta(days=1)), "end_date": str(last)}}
    with ExitStack() as stack:
        begun = stack.enter_context(installation.run("away-begun", **spec))
        installation.eventually(lambda: list(installation.client.list_tables(f"{org}_dev")), 180)
        bigquery = node.service("bqemulator")
        stack.callback(bigquery.thaw)
        bigquery.freeze()
        late = stack.enter_context(installation.run("away-late", **spec))
        idle = stack.enter_context(installation.run("away-idle", **noop(seconds=1)))
        assert installation.await_end(idle, 180)["status"]["phase"] == "Completed"
        installation.eventually(lambda: _lag(installation) > LAG_SECONDS and _attempts(installation, late) > 1, 300)
        assert [name for name in (begun, late) if installation.get(name)["status"].get("completedAt")] == []
        bigquery.thaw()
        runs = [installation.await_end(name, 300) for name in (begun, late, idle)]
        assert [run["status"]["phase"] for run in runs] == ["Completed"] * 3
        for run in runs:
            check_once(installation, run)
            check_attempts(installation, run)
        for run in runs[:2]:
            check_target(installation, org, run)
        installation.eventually(lambda: _lag(installation) == 0)


def _attempts(installation: Installation, name: str) -> int:
    return int(installation.get(name).get("status", {}).get("attempts", 0))


def _lag(installation: Installation) -> float:
    """What the exporter's metric says."""
    port = State(installation.paths.state).port("exporter")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("pipelines_export_lag_seconds "))
