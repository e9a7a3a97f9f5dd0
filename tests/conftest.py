"""What tests of more than one kind share: the local cluster, which whatever is marked `e2e` finds up and installed."""

import os

# PostgreSQL is started under another user, so by a fork, in which gRPC's own handlers crash now and then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from hypothesis import HealthCheck, settings
from rich.console import Console
from xdist.remote import Producer

from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local import backends, progress
from pipeline_local.forwarding import reachable
from pipeline_local.kubeconfig import NAMESPACE
from pipeline_local.kubectl import Kubectl
from pipeline_local.paths import Paths
from pipeline_local.setup import set_up
from pipeline_local.state import State
from support.installation import Installation, context_refusal
from support.sharing import OneClusterScheduling, needs_cluster

# How long an example takes says nothing on a machine that has other things to do.
settings.register_profile("pipelines", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pipelines")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick tests first, and the cluster for those that need it."""
    items.sort(key=_is_end_to_end)
    for item in items:
        if _is_end_to_end(item):
            # before the test's own fixtures, some of which use the cluster without naming it
            item.fixturenames.insert(0, "cluster")  # type: ignore[attr-defined]
            # the first one waits for the cluster, which takes minutes where it has to be built
            item.add_marker(pytest.mark.timeout(300, func_only=True))
            if not needs_cluster(item.path):
                raise pytest.UsageError(f"{item.nodeid}: expected the mark e2e on the module, by `pytestmark`")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneClusterScheduling:
    """Which process runs what, where several do."""
    return OneClusterScheduling(config, log)


def _is_end_to_end(item: pytest.Item) -> bool:
    return item.get_closest_marker("e2e") is not None


@pytest.fixture(scope="session", autouse=True)
def loggers_are_not_kept() -> Iterator[None]:
    """A logger that is kept as it was when a test configured logging would write past `capture_logs` for good."""
    configure = structlog.configure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            structlog, "configure", lambda **given: configure(**{**given, "cache_logger_on_first_use": False})
        )
        yield


@pytest.fixture(scope="session")
def cluster(pytestconfig: pytest.Config) -> Iterator[Installation]:
    """The local cluster with this checkout's images and chart in it; taken down at the end if it wasn't up before."""
    paths = Paths.from_environment()
    state = State(paths.state)
    if refusal := context_refusal(state.backend, os.environ):
        pytest.fail(refusal, pytrace=False)
    was_up = state.backend is not None
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), progress.reporter(Console(stderr=True)) as reporter:
        set_up(paths, state, reporter)
    with reachable(backends.current(paths), Kubectl(paths, NAMESPACE), state), pytest.MonkeyPatch.context() as patch:
        # only while the client is made: the integration tests' own servers are reached by the same variables
        for name, value in state.exports.items():
            patch.setenv(name, value)
        client = bigquery_client(BigQuerySettings())
        patch.undo()
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        yield Installation(paths, state.exports["PIPELINES_DATABASE_URL"], client, yesterday)
    if not was_up:
        with state.exclusive(), progress.reporter(Console(stderr=True)) as reporter:
            backends.current(paths).down(reporter)
            state.set_backend(None)
