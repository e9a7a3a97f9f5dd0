"""Makes the dev services answer on this machine's loopback where their cluster has a network of its own."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_local.backends import Backend
from pipeline_local.errors import LocalError
from pipeline_local.install import RELEASE
from pipeline_local.kubectl import Kubectl
from pipeline_local.state import State

# Ports of the chart's Service, and the names that the state remembers their counterparts on this machine by.
_PORTS = {"postgres": "postgres", "bigquery": "bigquery", "bigquery-grpc": "bigquery_grpc"}


@contextmanager
def reachable(backend: Backend, kubectl: Kubectl, state: State) -> Iterator[None]:
    """While it is open, the addresses of `pipelines local env` lead to the dev services, on every backend.

    Raises LocalError where they can't be forwarded.
    """
    if backend.name == "embedded":  # its pods listen on the machine's own loopback
        yield
        return
    with subprocess.Popen(
        forward_command(kubectl, state), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as forward:
        try:
            _await_forwarding(forward)
            yield
        finally:
            forward.terminate()


def forward_command(kubectl: Kubectl, state: State) -> list[str]:
    """What forwards the dev services' ports; for people too."""
    pairs = [f"{state.port(name)}:{port}" for port, name in _PORTS.items()]
    return kubectl.command("port-forward", f"service/{RELEASE}-dev-services", *pairs)


def _await_forwarding(forward: subprocess.Popen[str]) -> None:
    """kubectl says one line for each port and address family once it listens."""
    assert forward.stdout is not None  # noqa: S101
    ready = 0
    while ready < len(_PORTS):
        line = forward.stdout.readline()
        if not line:
            raise LocalError("kubectl port-forward ended before it forwarded the dev services' ports")
        ready += line.startswith("Forwarding from 127.0.0.1:")
