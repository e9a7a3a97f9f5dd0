"""The servers and the cluster that the figures are taken against."""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline_core.settings import BigQuerySettings
from pipeline_local.kubeconfig import NAMESPACE
from pipeline_local.quickstart import source
from pipeline_local.services.bigquery import BigQuery
from pipeline_local.state import State
from support.installation import Installation
from support.load import ApiServer, api_server
from support.measured_operator import changed_values
from support.organizations import integrate
from support.simulated_nodes import SELECTOR, TOLERATIONS, simulated_nodes
from support.stand_in import bigquery_stand_in


@pytest.fixture(scope="session")
def stand_in() -> Iterator[BigQuery]:
    """The BigQuery stand-in; the environment leads to it while it runs."""
    with bigquery_stand_in() as server:
        yield server


@pytest.fixture
def bigquery_settings(stand_in: BigQuery) -> BigQuerySettings:
    """The settings that lead to the stand-in."""
    return BigQuerySettings()


@pytest.fixture
def api(cluster: Installation) -> Callable[[Callable[[ApiServer], Coroutine[Any, Any, Any]]], Any]:
    """Runs a coroutine function with a connection to the API server; acme may run as much as it likes."""
    if State(cluster.paths.state).backend.name != "embedded":
        pytest.skip("reads the operator's process, which is on this machine only with the embedded cluster")
    asyncio.run(integrate(cluster.database_url, "acme", source.SETTINGS))

    def run(work: Callable[[ApiServer], Coroutine[Any, Any, Any]]) -> Any:
        async def connected() -> Any:
            async with api_server(cluster.paths.kubeconfig) as server:
                return await work(server)

        return asyncio.run(connected())

    return run


@pytest.fixture
def on_simulated_nodes(cluster: Installation, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two fresh namespaces, one for runs and one for Jobs, whose runner pods go to simulated nodes.

    By the chart's own values, so that it is the operator in its pod that works; they are as before at the end. Its pod
    and PostgreSQL's get a share of the CPU like that of the control plane's processes beside them: by default they ask
    for a tenth of it, which is meant for a node that isn't the control plane's too.
    """
    suffix = secrets.token_hex(3)
    runs, jobs = f"bench-runs-{suffix}", f"bench-jobs-{suffix}"
    values = {
        "watch": {"namespaces": [NAMESPACE, runs]},
        "operator": {"resources": {"requests": {"cpu": "600m"}}},
        "devServices": {"resources": {"requests": {"cpu": "600m"}}},
        "runner": {"namespaces": [jobs], "nodeSelector": SELECTOR, "tolerations": TOLERATIONS},
    }
    with simulated_nodes(cluster.paths, cluster.kubectl, tmp_path):
        for name in (runs, jobs):
            cluster.kubectl("create", "namespace", name)
        try:
            with changed_values(cluster, tmp_path, values):
                yield runs, jobs
        finally:
            cluster.kubectl("delete", "namespace", runs, jobs, "--wait=false")
