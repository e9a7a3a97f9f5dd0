"""The kill matrix: whatever dies, whenever it does, a run ends as it should, once, and everything works again.

Eight victims, each hit at three moments of a run that copies five days of bills into an empty dataset. `CELLS` says
what is done; what must come of it is the same for all: see `test_a_run_survives`.
With PIPELINES_KILL_REPORT=docs/reliability.md the table of that page is renewed with the results.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from support import scene as conditions
from support.agreement import check_attempts, check_once, check_target
from support.installation import Installation
from support.kill_report import KillReport
from support.organizations import empty_organization
from support.scene import Moment, Scene
from support.victims import Node, embedded_node

ORG = "kills"
CREATED, WORKING, ENDING = Moment


@dataclass(frozen=True)
class Cell:
    """Who is hit when, and how: killed, or frozen, or frozen and then killed; away `until` something is so.

    A killed component is then started again, as init would; a killed container the kubelet starts. With `hold` the run
    stands still at its moment until the victim is back. With `first` the victim is frozen before the run is made.
    """

    victim: str
    moment: Moment
    how: str = "killed"
    until: Callable[[Scene], object] = conditions.at_once
    hold: bool = True
    first: bool = False
    smoke: bool = False

    @property
    def name(self) -> str:
        return f"kill-{self.victim}-{self.moment.name}".lower().replace(" ", "-")


CELLS = (
    Cell("operator", CREATED),
    Cell("operator", WORKING, "frozen", conditions.lease_has_run_out, hold=False),
    Cell("operator", ENDING, "frozen, killed", conditions.runner_has_ended, hold=False, smoke=True),
    Cell("runner", CREATED),
    Cell("runner", WORKING),
    Cell("runner", ENDING, smoke=True),
    Cell("API server", CREATED),
    Cell("API server", WORKING, "frozen", conditions.operator_has_ended, hold=False),
    Cell("API server", ENDING, "killed", conditions.runner_has_ended, hold=False),
    Cell("etcd", CREATED, "frozen", conditions.api_server_is_unwell),
    Cell("etcd", WORKING, "killed", conditions.api_server_is_unwell),
    Cell("etcd", ENDING, "killed", conditions.runner_has_ended, hold=False),
    Cell("PostgreSQL", CREATED, "frozen", conditions.run_waits_for_postgresql, first=True),
    Cell("PostgreSQL", WORKING, "frozen", conditions.runner_has_ended, hold=False),
    Cell("PostgreSQL", ENDING, "frozen, killed", conditions.runner_has_ended, hold=False, smoke=True),
    Cell("BigQuery", CREATED, hold=False),
    Cell("BigQuery", WORKING, hold=False),
    Cell("BigQuery", ENDING, hold=False),
    Cell("containerd", CREATED, "frozen, killed", conditions.pod_has_been_taken, first=True),
    Cell("containerd", WORKING),
    Cell("containerd", ENDING, "killed", conditions.runner_has_ended, hold=False),
    Cell("kubelet", CREATED, "frozen, killed", conditions.pod_has_been_placed, first=True),
    Cell("kubelet", WORKING, smoke=True),
    Cell("kubelet", ENDING, "killed", conditions.node_is_lost, hold=False),
)


@pytest.fixture(scope="module")
def node(installation: Installation) -> Node:
    return embedded_node(installation)


@pytest.fixture(scope="module")
def report() -> Iterator[KillReport]:
    results = KillReport([moment.value for moment in Moment])
    yield results
    if page := os.environ.get("PIPELINES_KILL_REPORT"):
        results.renew(Path(page))


@pytest.fixture
def org(node: Node) -> Iterator[str]:
    """An organization whose dataset is empty: nothing that an earlier run has copied can pass for this one's work."""
    with empty_organization(node.installation, ORG):
        yield ORG


@pytest.mark.timeout(600, func_only=True)
@pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, id=cell.name, marks=() if cell.smoke else (pytest.mark.full,)) for cell in CELLS],
)
def test_a_run_survives(node: Node, org: str, report: KillReport, cell: Cell) -> None:
    last = node.installation.last_day
    days = {"start_date": str(last - timedelta(days=4)), "end_date": str(last)}
    with Scene(node, cell.victim, cell.name, {"org": org, "parameters": days}).played() as scene:
        scene.reach(cell.moment, frozen=cell.first)
        scene.strike(cell.how)
        if not cell.hold:
            scene.release()
        scene.wait(cell.until)
        scene.restore(cell.how)
        scene.release()
        run = scene.end()
        attempts = run["status"]["attempts"]
        told = f"{run['status']['phase']}, {scene.seconds:.0f} s"
        report.note(cell.victim, cell.moment.value, told if attempts == 1 else f"{told}, {attempts} attempts")
        node.await_health()
        assert run["status"]["phase"] == "Completed", run["status"]
        check_once(node.installation, run, stopped=cell.victim == "containerd")
        killed, unknown = int(cell.victim == "runner"), int(cell.victim == "containerd")
        check_attempts(node.installation, run, killed=killed, unknown=unknown)
        check_target(node.installation, org, run)
