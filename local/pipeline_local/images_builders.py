"""The two programs that build images from the same Containerfiles: Docker where its engine answers, else buildah."""

import os
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from pipeline_local import packages
from pipeline_local.errors import LocalError
from pipeline_local.images_content import base_tag
from pipeline_local.progress import Reporter

BASE_VARIABLE = "PIPELINES_IMAGE_BASE"
"""Names an image with Python 3.11 to build on, instead of the builder's own choice."""
_BASE_REPOSITORY = "localhost/pipelines-base"


class Builder(Protocol):
    """Builds images. All methods raise LocalError, with the program's last words, when it fails."""

    def base(self, root: Path, work: Path, reporter: Reporter) -> str | None:
        """The image to build on, made if need be in the folder `work`; None: the one that the Containerfile names."""

    def build(self, containerfile: Path, context: Path, reference: str, base: str | None) -> None:
        """Build the image `reference`; layers that were built before are used again."""

    def save(self, reference: str, archive: Path) -> None:
        """Write the image to an archive, under this name."""

    def prune(self, keep: Collection[str]) -> None:
        """Remove the project's images except these, and what only they used."""


class Docker:
    """The engine that answers; the base comes from a registry."""

    def base(self, root: Path, work: Path, reporter: Reporter) -> str | None:
        return os.environ.get(BASE_VARIABLE)

    def build(self, containerfile: Path, context: Path, reference: str, base: str | None) -> None:
        argument = ["--build-arg", f"BASE={base}"] if base else []
        _run(["docker", "build", "--quiet", *argument, "--tag", reference, "--file", containerfile, context])

    def save(self, reference: str, archive: Path) -> None:
        _run(["docker", "save", "--output", archive, reference])

    def prune(self, keep: Collection[str]) -> None:
        listed = _run(["docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).split()
        if unwanted := removable(listed, keep):
            _run(["docker", "image", "rm", *unwanted])


class Buildah:
    """A store of our own in the cache folder, without any engine or registry; root on Linux only."""

    def __init__(self, store: Path, work: Path) -> None:
        """`store` keeps images and layers; `work` is for one build, and gone afterwards."""
        self._places = ["--root", str(store), "--runroot", str(work / "run")]
        self._driver = "overlay" if self._works_with("overlay") else "vfs"
        self._buildah("rm", "--all")  # the containers of a build that was killed

    def base(self, root: Path, work: Path, reporter: Reporter) -> str | None:
        if chosen := os.environ.get(BASE_VARIABLE):
            return chosen
        reference = f"{_BASE_REPOSITORY}:{base_tag(root)}"
        if reference not in self._images():
            with reporter.step("Making the base image"):
                context = work / "base"
                context.mkdir()
                _isolated([root / "images" / "base" / "make-rootfs", context / "rootfs"])
                self.build(root / "images" / "base" / "Containerfile", context, reference, None)
        return reference

    def build(self, containerfile: Path, context: Path, reference: str, base: str | None) -> None:
        argument = ["--build-arg", f"BASE={base}"] if base else []
        # chroot: also where this process may not make namespaces or control groups; nothing here is foreign code
        options = ["--quiet", "--isolation", "chroot", "--layers", "--pull=false", *argument]
        self._buildah("build", *options, "--tag", reference, "--file", containerfile, context)

    def save(self, reference: str, archive: Path) -> None:
        # zstd: half the time of gzip, at about the same size
        options = ["--quiet", "--compression-format", "zstd"]
        self._buildah("push", *options, reference, f"oci-archive:{archive}:{reference}")

    def prune(self, keep: Collection[str]) -> None:
        newest_base = [image for image in self._images() if image.startswith(f"{_BASE_REPOSITORY}:")][:1]
        if unwanted := removable(self._images(), {*keep, *newest_base}):
            self._buildah("rmi", *unwanted)
        self._buildah("rmi", "--prune", "--force")

    def _images(self) -> list[str]:
        """Names of all images, the newest first."""
        return self._buildah("images", "--format", "{{.Name}}:{{.Tag}}").split()

    def _works_with(self, driver: str) -> bool:
        command = ["buildah", *self._places, "--storage-driver", driver, "info"]
        return subprocess.run(command, env=_environment(), capture_output=True, check=False).returncode == 0

    def _buildah(self, *arguments: str | Path) -> str:
        return _isolated(["buildah", *self._places, "--storage-driver", self._driver, *arguments])


def removable(images: Collection[str], keep: Collection[str]) -> list[str]:
    """The project's images among these that aren't to be kept; nobody else's."""
    return [image for image in images if image.startswith("localhost/pipelines-") and image not in keep]


def _isolated(command: Sequence[str | Path]) -> str:
    """Run a program whose mounts go with it, even when it is killed."""
    return _run(["unshare", "--mount", *command])


def _run(command: Sequence[str | Path]) -> str:
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise LocalError(f"`{' '.join(map(str, command[:4]))} ...` failed with status {done.returncode}:\n{words}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PATH": packages.search_path(), "LC_ALL": "C.UTF-8"}
