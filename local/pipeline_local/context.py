"""The context backend: an existing cluster, named by its kubeconfig context. Starts nothing and ends nothing there."""

import json
import shutil
import tarfile
from collections.abc import Collection
from pathlib import Path

from pipeline_local import clients
from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths, private_folder, write_atomically
from pipeline_local.progress import Reporter
from pipeline_local.state import BackendChoice
from pipeline_local.supervision import Status


class ContextBackend:
    """Commands get a kubeconfig of that one context, so none of them ever follows a change of the current one."""

    name = "context"

    def __init__(self, paths: Paths, choice: BackendChoice) -> None:
        self._paths = paths
        self._context = choice.context or ""
        self._repository = choice.image_repository or ""

    def up(self, reporter: Reporter) -> None:
        clients.ensure(self._paths, reporter)
        with reporter.step(f"Reaching the cluster of context {self._context}"):
            command = [*self._kubectl(), "config", "view", "--minify", "--flatten", f"--context={self._context}"]
            document = clients.run(command, f"reading context {self._context} of your kubeconfig")
            private_folder(self._paths.state)
            write_atomically(self._paths.kubeconfig, document)
            self._version()

    def down(self, reporter: Reporter) -> None:
        self._paths.kubeconfig.unlink(missing_ok=True)

    def status(self) -> list[Status]:
        try:
            self._version()
        except LocalError as error:
            return [Status(f"context {self._context}", "", None, str(error))]
        return [Status(f"context {self._context}", "", None, None)]

    def import_image(self, archive: Path) -> None:
        name = self.image_name(archive_name(archive))
        if shutil.which("skopeo") is None:
            raise LocalError(f"pushing {name} needs the program skopeo, which is not on PATH")
        clients.run(["skopeo", "copy", f"oci-archive:{archive}", f"docker://{name}"], f"pushing {name}")

    def image_name(self, name: str) -> str:
        """localhost/operator:1 is REPOSITORY/operator:1 there."""
        return f"{self._repository}/{name.rsplit('/', 1)[-1]}"

    def has_image(self, name: str) -> bool:
        return False  # a push passes over the layers that the repository has

    def prune_images(self, keep: Collection[str]) -> None:
        """Nothing: the repository is the person's own."""

    def _version(self) -> None:
        command = [*self._kubectl(), f"--kubeconfig={self._paths.kubeconfig}", "get", "--raw", "/version"]
        clients.run(command, f"reaching the cluster of context {self._context}")

    def _kubectl(self) -> list[str]:
        return [str(self._paths.bin / "kubectl")]


def archive_name(archive: Path) -> str:
    """The image's name in an OCI archive.

    Raises LocalError where it has none.
    """
    try:
        with tarfile.open(archive) as content:
            member = content.extractfile("index.json")
            index = json.loads(member.read()) if member is not None else {}
        annotations = index["manifests"][0]["annotations"]
        name = annotations.get("io.containerd.image.name") or annotations["org.opencontainers.image.ref.name"]
    except (OSError, tarfile.TarError, ValueError, KeyError, IndexError) as error:
        raise LocalError(f"{archive} is not an OCI archive of one named image") from error
    return str(name)
