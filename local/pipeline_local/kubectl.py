"""Calls kubectl on the local cluster, and only there."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths


class Kubectl:
    """kubectl with the installation's own kubeconfig and one namespace."""

    def __init__(self, paths: Paths, namespace: str) -> None:
        self.namespace = namespace
        program = paths.bin / "kubectl"
        self._command = [str(program), f"--kubeconfig={paths.kubeconfig}", f"--namespace={namespace}"]

    def command(self, *arguments: str) -> list[str]:
        """The whole command line, for programs that run on."""
        return [*self._command, *arguments]

    def __call__(self, *arguments: str, manifest: Mapping[str, Any] | None = None) -> str:
        """What kubectl prints; `manifest` is its standard input.

        Raises LocalError with what it said where it fails.
        """
        result = self.attempt(*arguments, manifest=manifest)
        if result.returncode != 0:
            raise LocalError(f"kubectl {' '.join(arguments)} failed: {result.stderr.strip()[-2000:]}")
        return result.stdout

    def attempt(self, *arguments: str, manifest: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        """The finished process, whatever its exit code."""
        text = None if manifest is None else json.dumps(manifest)
        command = self.command(*arguments)
        return subprocess.run(command, input=text, capture_output=True, text=True, check=False)

    def read(self, *arguments: str) -> Any:
        """What `kubectl get …` answers, as parsed JSON. Raises LocalError where it fails."""
        return json.loads(self("get", *arguments, "--output=json"))
