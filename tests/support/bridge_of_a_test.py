"""A bridge of a test's own in the installation: its way to Kubernetes can fail, and it may be killed."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from pipeline_local.catalog import local_files
from pipeline_local.kubeconfig import NAMESPACE
from pipeline_local.paths import Paths
from support.bridge import BridgeProcess, bridge_process, free_ports
from support.fault_proxy import fault_proxy
from support.http_api import HttpApi

_ACCOUNT = f"system:serviceaccount:{NAMESPACE}:pipelines-bridge"
_CONFIGS = Path(__file__).parents[2] / "configs"


class WayToKubernetes:
    """An address that leads to the API server as the bridge's service account, until it is closed."""

    def __init__(self, paths: Paths) -> None:
        self._kubectl = [str(paths.bin / "kubectl"), f"--kubeconfig={paths.kubeconfig}"]
        (self._port,) = free_ports(1)
        self._process: subprocess.Popen[str] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Returns once it leads there."""
        command = [*self._kubectl, "proxy", f"--port={self._port}", f"--as={_ACCOUNT}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        assert said.startswith("Starting to serve"), said

    def close(self) -> None:
        """Nobody listens at the address any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Closed for a while."""
        self.close()
        try:
            yield
        finally:
            self.open()


@contextmanager
def way_to_kubernetes(paths: Paths) -> Iterator[WayToKubernetes]:
    """An open way."""
    way = WayToKubernetes(paths)
    way.open()
    try:
        yield way
    finally:
        way.close()


@contextmanager
def bridge_by(api: HttpApi, url: str, folder: Path) -> Iterator[BridgeProcess]:
    """A process of the bridge with the installation's PostgreSQL, pepper and catalog, and this way to Kubernetes."""
    catalog, kubeconfig = folder / "catalog", folder / "kubeconfig"
    shutil.copytree(_CONFIGS, catalog)
    for name, text in local_files().items():
        path = catalog / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    cluster = {"name": "c", "cluster": {"server": url}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}
    config = {"clusters": [cluster], "users": [{"name": "u", "user": {}}], "contexts": [context]}
    kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "c", **config}))
    environment = {
        "PIPELINES_DATABASE_URL": api.installation.database_url,
        "PIPELINES_API_KEY_PEPPER": api.pepper,
        "PIPELINES_CATALOG_DIR": str(catalog),
        "POD_NAMESPACE": NAMESPACE,
        "KUBECONFIG": str(kubeconfig),
    }
    with bridge_process(environment) as process:
        yield process


@contextmanager
def bridge_that_waits(api: HttpApi, folder: Path) -> Iterator[tuple[BridgeProcess, threading.Event]]:
    """A bridge whose request for a PipelineRun never gets to the API server, and that waits for its answer.

    The event is set once it does.
    """
    with way_to_kubernetes(api.installation.paths) as way, fault_proxy(way.url) as proxy:
        fault = proxy.add(r"^POST .*/pipelineruns", times=None, swallow=True)
        with bridge_by(api, proxy.url, folder) as bridge:
            yield bridge, fault.reached
