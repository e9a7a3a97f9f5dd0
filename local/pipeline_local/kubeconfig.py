"""Kubeconfig documents, for people and for the components. JSON, which every reader of YAML reads."""

import base64
import json
from pathlib import Path

from pipeline_local.certificates import Certificates

CLUSTER = "pipelines-local"
# Where the chart is installed, so that `kubectl get plr` shows the runs without more words.
NAMESPACE = "pipelines"


def render(server: str, certificates: Certificates, user: str, leaf: str) -> str:
    """A document that refers to nothing else: authority, certificate and key are in it."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": CLUSTER,
                "cluster": {"server": server, "certificate-authority-data": _data(certificates.certificate("ca"))},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _data(certificates.certificate(leaf)),
                    "client-key-data": _data(certificates.key(leaf)),
                },
            }
        ],
        "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": user, "namespace": NAMESPACE}}],
        "current-context": CLUSTER,
    }
    return json.dumps(document, indent=2) + "\n"


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
