"""Where each thing of the embedded cluster is: its folders, programs, certificates and ports. What components are
rendered from.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline_local.certificates import Certificates
from pipeline_local.errors import LocalError

PORTS = (
    "etcd",
    "etcd_peer",
    "etcd_health",
    "apiserver",
    "controller_manager",
    "scheduler",
    "containerd_stream",
    "kubelet",
    "kubelet_health",
)
_LONGEST_SOCKET = 107
"""Bytes that Linux takes in the address of a Unix socket (unix(7), less the closing zero)."""


@dataclass(frozen=True)
class Layout:
    """Everything that the rendering of a component may depend on."""

    state: Path
    programs: Path
    certificates: Certificates
    ports: Mapping[str, int]
    runc: str
    search_path: str

    def __post_init__(self) -> None:
        longest = f"{self.containerd_socket}.ttrpc"
        if len(longest.encode()) > _LONGEST_SOCKET:
            raise LocalError(
                f"XDG_STATE_HOME is too long for a socket below it ({longest}, at most {_LONGEST_SOCKET} bytes): "
                "set it to a shorter path"
            )

    @property
    def containerd(self) -> Path:
        return self.state / "containerd"

    @property
    def containerd_socket(self) -> Path:
        return self.containerd / "containerd.sock"

    @property
    def kubelet(self) -> Path:
        return self.state / "kubelet"

    @property
    def configuration(self) -> Path:
        return self.state / "config"

    @property
    def pod_logs(self) -> Path:
        return self.state / "pod-logs"

    @property
    def network(self) -> Path:
        """Leases of the pod network."""
        return self.state / "network"

    @property
    def network_name(self) -> str:
        """One per installation, so that what belongs to another on the same machine is never removed."""
        return f"pipelines-{hashlib.sha256(str(self.state).encode()).hexdigest()[:8]}"

    def program(self, name: str) -> str:
        return str(self.programs / name)

    def url(self, port: str) -> str:
        return f"https://127.0.0.1:{self.ports[port]}"

    def kubeconfig(self, user: str) -> Path:
        return self.configuration / f"{user}.kubeconfig"

    @property
    def path(self) -> str:
        """PATH of the components: containerd finds its shim in the first folder."""
        return f"{self.programs}:{self.search_path}"
