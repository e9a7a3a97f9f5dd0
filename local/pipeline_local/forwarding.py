"""Makes dev services and bridge answer on this machine's loopback where their cluster has a network of its own."""

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pipeline_local.backends import Backend
from pipeline_local.errors import LocalError
from pipeline_local.install import RELEASE
from pipeline_local.kubectl import Kubectl
from pipeline_local.state import State

# Services of the chart, their ports, and the names that the state remembers their counterparts on this machine by.
_PORTS = {
    "dev-services": {
        "postgres": "postgres",
        "bigquery": "bigquery",
        "bigquery-grpc": "bigquery_grpc",
        "simulators": "simulators",
    },
    "bridge": {"http": "bridge"},
}


@contextmanager
def reachable(backend: Backend, kubectl: Kubectl, state: State) -> Iterator[None]:
    """While it is open, the addresses of `pipelines local env` lead into the cluster, on every backend.

    Raises LocalError where they can't be forwarded.
    """
    if backend.name == "embedded":  # its pods listen on the machine's own loopback
        yield
        return
    with ExitStack() as stack:
        for service, command in forward_commands(kubectl, state).items():
            forward = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            )
            stack.callback(forward.terminate)
            _await_forwarding(forward, service)
        yield


def forward_commands(kubectl: Kubectl, state: State) -> dict[str, list[str]]:
    """What forwards the ports, by component: one command for each Service; for people too."""
    return {
        service: kubectl.command(
            "port-forward",
            f"service/{RELEASE}-{service}",
            *(f"{state.port(name)}:{port}" for port, name in ports.items()),
        )
        for service, ports in _PORTS.items()
    }


def _await_forwarding(forward: subprocess.Popen[str], service: str) -> None:
    """kubectl says one line for each port and address family once it listens."""
    assert forward.stdout is not None  # noqa: S101
    ready = 0
    while ready < len(_PORTS[service]):
        line = forward.stdout.readline()
        if not line:
            raise LocalError(f"kubectl port-forward ended before it forwarded the ports of {service}")
        ready += line.startswith("Forwarding from 127.0.0.1:")
