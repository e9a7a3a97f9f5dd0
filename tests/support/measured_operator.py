"""The operator of the local cluster while its figures are taken: found, given other values, waited for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from pipeline_local.images_content import checkout
from pipeline_local.install import RELEASE, helm
from pipeline_local.state import State
from support.installation import Installation
from support.load import Json
from support.operator_process import OperatorProcess


@contextmanager
def changed_values(cluster: Installation, folder: Path, values: Json) -> Iterator[None]:
    """The release with other values for a while."""
    file = folder / "values.json"
    file.write_text(yaml.safe_dump(values))
    upgrade(cluster, "--values", str(file))
    try:
        yield
    finally:
        upgrade(cluster)


def upgrade(cluster: Installation, *arguments: str) -> None:
    chart, own = checkout() / "charts" / "pipelines", cluster.paths.state / "values.yaml"
    told = helm(
        cluster.paths, "upgrade", RELEASE, str(chart), f"--values={own}", *arguments, "--wait", "--timeout=180s"
    )
    assert told.returncode == 0, told.stderr


def the_operator(cluster: Installation) -> OperatorProcess:
    return OperatorProcess.find(cluster.kubectl, State(cluster.paths.state).port("operator"))


async def calm(operator: OperatorProcess) -> float:
    """Wait until the operator does nearly nothing; the CPU seconds that it has used by then."""
    before = operator.cpu_seconds()
    while True:
        await asyncio.sleep(5)
        now = operator.cpu_seconds()
        if now - before < 0.25:
            return now
        before = now
