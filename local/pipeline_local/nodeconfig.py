"""The configuration files of the node's own parts: kubelet, containerd and the pod network."""

import json

from pipeline_local.certificates import NODE_NAME
from pipeline_local.layout import Layout

PAUSE_IMAGE = "localhost/pause:1"
MAX_PODS = 250


def kubelet(layout: Layout) -> str:
    """KubeletConfiguration for a node in a machine that is not its own, whatever its control groups are."""
    pki = layout.certificates
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "127.0.0.1",
        "port": layout.ports["kubelet"],
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": layout.ports["kubelet_health"],
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki.certificate("kubelet")),
        "tlsPrivateKeyFile": str(pki.key("kubelet")),
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        # Containers get groups of their own; the node and its quality-of-service classes do not: that takes
        # controllers which a machine with mixed (v1 and v2) control groups does not have.
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        # Nothing is evicted or collected: other work fills this machine's disk, and without a registry an image
        # that is gone can't be pulled again.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # no rules in the machine's own firewall
        "makeIPTablesUtilChains": False,
        # What is killed time and again, as tests do, is back in seconds; the usual pause grows to five minutes.
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        "maxPods": MAX_PODS,
        "kubeAPIQPS": 500,
        "kubeAPIBurst": 1000,
        "podLogsDir": str(layout.pod_logs),
        "volumePluginDir": str(layout.kubelet / "volume-plugins"),
        "resolvConf": "/etc/resolv.conf",
    }
    return json.dumps(document, indent=2) + "\n"


def containerd(layout: Layout) -> str:
    """containerd's configuration, version 3. JSON's strings and lists are TOML's as well."""
    programs = ["/usr/lib/cni", "/opt/cni/bin"]
    unused = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]
    return f"""version = 3
root = {_text(layout.containerd / "root")}
state = {_text(layout.containerd / "state")}
disabled_plugins = {json.dumps(unused)}

[grpc]
address = {_text(layout.containerd_socket)}

[ttrpc]
address = {_text(f"{layout.containerd_socket}.ttrpc")}

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = {_text(PAUSE_IMAGE)}

[plugins."io.containerd.grpc.v1.cri"]
stream_server_address = "127.0.0.1"
stream_server_port = "{layout.ports["containerd_stream"]}"

[plugins."io.containerd.cri.v1.runtime"]
# without CAP_SYS_RESOURCE a process can't lower anyone's score below its own
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = {json.dumps(programs)}
conf_dir = {_text(layout.configuration / "cni")}

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = {_text(layout.runc)}
Root = {_text(layout.containerd / "runc")}
SystemdCgroup = false
"""


def pod_network(layout: Layout) -> str:
    """One network for pods that do not share the machine's: an interface each, and no way out. Without any, the node
    would never be ready.
    """
    leases = {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/23"}]], "dataDir": str(layout.network)}
    document = {
        "cniVersion": "1.0.0",
        "name": layout.network_name,
        "plugins": [{"type": "ptp", "ipMasq": False, "ipam": leases}],
    }
    return json.dumps(document, indent=2) + "\n"


def _text(value: object) -> str:
    return json.dumps(str(value))


__all__ = ["MAX_PODS", "NODE_NAME", "PAUSE_IMAGE", "containerd", "kubelet", "pod_network"]
