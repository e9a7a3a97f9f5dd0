"""Builds the project's images into archives in the cache folder, once per content. `python -m pipeline_local.images`

`build_all` may be called from any thread or process, beside the building of programs: builds of one cache folder wait
for each other.
"""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from pipeline_local import packages
from pipeline_local.errors import LocalError
from pipeline_local.images_builders import BASE_VARIABLE, Buildah, Builder, Docker
from pipeline_local.images_content import DEFINITIONS, Definition, base_tag, checkout, stage, tag
from pipeline_local.kind import docker_engine_answers
from pipeline_local.paths import Paths, private_folder
from pipeline_local.progress import Reporter, reporter

KEPT = 3
"""Archives kept per image: the newest, for going back and forth between two states of the code."""


@dataclass(frozen=True)
class Image:
    """A built image."""

    name: str
    """operator, runner or dev-services."""
    reference: str
    """Its name in the archive, such as localhost/pipelines-runner:0123456789abcdef."""
    archive: Path
    """For a backend's `import_image`."""


def build_all(reporter: Reporter, paths: Paths | None = None) -> dict[str, Image]:
    """All images by name; builds those whose content isn't in the cache.

    Raises LocalError with what a person can do: a missing program or right, a failed download or build.
    """
    folder = (paths or Paths.from_environment()).cache / "images"
    root = checkout()
    base = os.environ.get(BASE_VARIABLE) or base_tag(root)
    images = {definition.name: _image(definition, root, base, folder) for definition in DEFINITIONS}
    if not all(_use(image) for image in images.values()):
        with _one_at_a_time(folder):
            # another process may have built them while this one waited
            missing = [definition for definition in DEFINITIONS if not images[definition.name].archive.exists()]
            if missing:
                _build(missing, images, root, folder, reporter)
            _prune_archives(folder)
    return images


def _image(definition: Definition, root: Path, base: str, folder: Path) -> Image:
    version = tag(definition, root, base)
    archive = folder / "archives" / f"{definition.name}-{version}.tar"
    return Image(definition.name, f"{definition.repository}:{version}", archive)


def _use(image: Image) -> bool:
    """Mark an archive as used now, for the pruning. False: there is none."""
    try:
        os.utime(image.archive)
    except FileNotFoundError:
        return False
    return True


def _build(missing: list[Definition], images: dict[str, Image], root: Path, folder: Path, reporter: Reporter) -> None:
    (folder / "archives").mkdir(exist_ok=True)
    for left in folder.glob(".work-*"):  # of a build that was killed; its mounts went with it
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=folder) as made, ThreadPoolExecutor(1) as background:
        work = Path(made)
        # downloads while the base is made
        staged = background.submit(_stage, missing, root, work)
        builder = _builder(folder, work, reporter)
        base = builder.base(root, work, reporter)
        staged.result()
        with reporter.step(f"Building the images ({', '.join(definition.name for definition in missing)})") as step:
            for number, definition in enumerate(missing):
                image = images[definition.name]
                builder.build(definition.containerfile(root), work / definition.name, image.reference, base)
                step.update(2 * number + 1, 2 * len(missing))
                unfinished = work / image.archive.name
                builder.save(image.reference, unfinished)
                # crash here: the archive goes with the work folder, and the next build has the layers
                unfinished.rename(image.archive)
                step.update(2 * number + 2, 2 * len(missing))
            builder.prune({image.reference for image in images.values()})


def _stage(definitions: list[Definition], root: Path, work: Path) -> None:
    for definition in definitions:
        stage(definition, root, work / definition.name)


def _builder(folder: Path, work: Path, reporter: Reporter) -> Builder:
    if docker_engine_answers():
        return Docker()
    packages.ensure(packages.IMAGES, reporter)
    if os.geteuid() != 0:
        raise LocalError("building images without a Docker engine needs root")
    return Buildah(folder / "store", work)


def _prune_archives(folder: Path) -> None:
    for definition in DEFINITIONS:
        archives = (folder / "archives").glob(f"{definition.name}-*.tar")
        for old in sorted(archives, key=lambda archive: archive.stat().st_mtime, reverse=True)[KEPT:]:
            old.unlink()


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    with (private_folder(folder) / "builds.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Build all images and print the name and the archive of each."""
    console = Console(stderr=True)
    try:
        with reporter(console) as shown:
            images = build_all(shown)
    except LocalError as error:
        console.print(str(error), markup=False, highlight=False)
        return 1
    for image in images.values():
        print(image.reference, image.archive)  # noqa: T201 - the command's result
    return 0


if __name__ == "__main__":
    sys.exit(main())
