"""The components of the embedded cluster: how each is started, what it reads, and how it shows that it works."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline_local import kubeconfig, nodeconfig, probes
from pipeline_local.certificates import SERVICE_ADDRESS
from pipeline_local.layout import Layout

# Their default limit of 20 requests a second, not the machine, would bound how many Jobs a second the cluster starts.
_CLIENT_LIMITS = ("--kube-api-qps=5000", "--kube-api-burst=5000")


@dataclass(frozen=True)
class Component:
    """One server process."""

    name: str
    argv: tuple[str, ...]
    address: str
    probe: probes.Probe
    ports: tuple[str, ...] = ()
    files: Mapping[Path, str] = field(default_factory=dict)
    """Written before it starts."""
    needs: tuple[str, ...] = ()
    """Components that have to work before it is started."""


def render(layout: Layout) -> Sequence[Component]:
    """All components, each after those that it needs."""
    return (
        _etcd(layout),
        _containerd(layout),
        _apiserver(layout),
        _controller_manager(layout),
        _scheduler(layout),
        _kubelet(layout),
    )


def _etcd(layout: Layout) -> Component:
    pki = layout.certificates
    client, peer = layout.url("etcd"), layout.url("etcd_peer")
    pair = (f"--cert-file={pki.certificate('etcd')}", f"--key-file={pki.key('etcd')}")
    return Component(
        name="etcd",
        argv=(
            layout.program("etcd"),
            "--name=local",
            f"--data-dir={layout.state / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=local={peer}",
            f"--listen-metrics-urls=http://127.0.0.1:{layout.ports['etcd_health']}",
            "--client-cert-auth",
            f"--trusted-ca-file={pki.certificate('etcd-ca')}",
            *pair,
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={pki.certificate('etcd-ca')}",
            f"--peer-cert-file={pki.certificate('etcd')}",
            f"--peer-key-file={pki.key('etcd')}",
            # a power failure may cost this cluster its last writes; waiting for the disk costs every one of them time
            "--unsafe-no-fsync",
            "--logger=zap",
            "--log-level=warn",
        ),
        address=client,
        ports=("etcd", "etcd_peer", "etcd_health"),
        probe=probes.http_ok(layout.ports["etcd_health"], "/health"),
    )


def _containerd(layout: Layout) -> Component:
    config = layout.configuration / "containerd.toml"
    return Component(
        name="containerd",
        argv=(layout.program("containerd"), f"--config={config}", "--log-level=warn"),
        address=f"unix://{layout.containerd_socket}",
        ports=("containerd_stream",),
        files={
            config: nodeconfig.containerd(layout),
            layout.configuration / "cni" / "10-pipelines.conflist": nodeconfig.pod_network(layout),
        },
        probe=probes.socket_open(layout.containerd_socket),
    )


def _apiserver(layout: Layout) -> Component:
    pki, port = layout.certificates, layout.ports["apiserver"]
    return Component(
        name="kube-apiserver",
        argv=(
            layout.program("kube-apiserver"),
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            "--advertise-address=127.0.0.1",
            # its own Service would otherwise get 127.0.0.1 as endpoint, which is refused
            "--endpoint-reconciler-type=none",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--anonymous-auth=false",
            "--allow-privileged=true",
            "--profiling=false",
            f"--service-cluster-ip-range={SERVICE_ADDRESS.rsplit('.', 1)[0]}.0/24",
            f"--client-ca-file={pki.certificate('ca')}",
            f"--tls-cert-file={pki.certificate('apiserver')}",
            f"--tls-private-key-file={pki.key('apiserver')}",
            f"--etcd-servers={layout.url('etcd')}",
            f"--etcd-cafile={pki.certificate('etcd-ca')}",
            f"--etcd-certfile={pki.certificate('apiserver-etcd')}",
            f"--etcd-keyfile={pki.key('apiserver-etcd')}",
            "--kubelet-preferred-address-types=Hostname",
            f"--kubelet-certificate-authority={pki.certificate('ca')}",
            f"--kubelet-client-certificate={pki.certificate('apiserver-kubelet')}",
            f"--kubelet-client-key={pki.key('apiserver-kubelet')}",
            f"--requestheader-client-ca-file={pki.certificate('front-proxy-ca')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki.certificate('front-proxy-client')}",
            f"--proxy-client-key-file={pki.key('front-proxy-client')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki.service_account_public_key}",
            f"--service-account-signing-key-file={pki.service_account_key}",
        ),
        address=layout.url("apiserver"),
        ports=("apiserver",),
        files={layout.state / "kubeconfig": _kubeconfig(layout, "admin")},
        needs=("etcd",),
        probe=probes.https_ok(port, "/readyz", pki.certificate("ca"), pki.certificate("admin"), pki.key("admin")),
    )


def _controller_manager(layout: Layout) -> Component:
    pki = layout.certificates
    return _client_of_the_api(
        layout,
        "controller-manager",
        (
            "--use-service-account-credentials",
            f"--root-ca-file={pki.certificate('ca')}",
            f"--service-account-private-key-file={pki.service_account_key}",
            f"--cluster-signing-cert-file={pki.certificate('ca')}",
            f"--cluster-signing-key-file={pki.key('ca')}",
            f"--flex-volume-plugin-dir={layout.kubelet / 'volume-plugins'}",
        ),
    )


def _scheduler(layout: Layout) -> Component:
    return _client_of_the_api(layout, "scheduler", ())


def _client_of_the_api(layout: Layout, role: str, arguments: tuple[str, ...]) -> Component:
    """The controller manager or the scheduler, which are started alike."""
    pki, port_name = layout.certificates, role.replace("-", "_")
    config = layout.kubeconfig(role)
    return Component(
        name=f"kube-{role}",
        argv=(
            layout.program(f"kube-{role}"),
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={layout.ports[port_name]}",
            f"--tls-cert-file={pki.certificate(role)}",
            f"--tls-private-key-file={pki.key(role)}",
            "--leader-elect=false",
            "--profiling=false",
            *_CLIENT_LIMITS,
            *arguments,
        ),
        address=layout.url(port_name),
        ports=(port_name,),
        files={config: _kubeconfig(layout, role)},
        needs=("kube-apiserver",),
        probe=probes.https_ok(
            layout.ports[port_name], "/healthz", pki.certificate("ca"), pki.certificate("admin"), pki.key("admin")
        ),
    )


def _kubelet(layout: Layout) -> Component:
    config = layout.configuration / "kubelet.json"
    credentials = layout.kubeconfig("kubelet")
    return Component(
        name="kubelet",
        argv=(
            layout.program("kubelet"),
            f"--config={config}",
            f"--kubeconfig={credentials}",
            f"--root-dir={layout.kubelet}",
            f"--cert-dir={layout.kubelet / 'pki'}",
            f"--hostname-override={nodeconfig.NODE_NAME}",
        ),
        address=layout.url("kubelet"),
        ports=("kubelet", "kubelet_health"),
        files={config: nodeconfig.kubelet(layout), credentials: _kubeconfig(layout, "kubelet")},
        needs=("kube-apiserver", "containerd"),
        probe=probes.http_ok(layout.ports["kubelet_health"], "/healthz"),
    )


def _kubeconfig(layout: Layout, role: str) -> str:
    return kubeconfig.render(layout.url("apiserver"), layout.certificates, user=role, leaf=role)
