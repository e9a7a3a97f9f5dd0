"""The kinds of cluster behind `pipelines local`, and which of them a command means."""

import os
import shutil
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from pipeline_local.context import ContextBackend
from pipeline_local.embedded import EmbeddedBackend
from pipeline_local.errors import LocalError
from pipeline_local.kind import PROGRAM, KindBackend, docker_engine_answers, require_program
from pipeline_local.paths import Paths
from pipeline_local.progress import Reporter
from pipeline_local.state import BackendChoice, State
from pipeline_local.supervision import Status


class Backend(Protocol):
    """A cluster to work on. All methods raise LocalError with what a person can do."""

    @property
    def name(self) -> str: ...

    def up(self, reporter: Reporter) -> None:
        """Bring the cluster up, or repair it; do nothing when all is well."""

    def down(self, reporter: Reporter) -> None:
        """End what `up` started; works on a cluster in any state."""

    def status(self) -> list[Status]:
        """The cluster's components."""

    def import_image(self, archive: Path) -> None:
        """Make an image available to pods: an OCI or Docker archive of one named image."""

    def image_name(self, name: str) -> str:
        """How pods refer to the image that was imported under this name."""

    def has_image(self, name: str) -> bool:
        """Whether pods have the image of this name already; False also where that can't be told."""

    def prune_images(self, keep: Collection[str]) -> None:
        """Remove this project's images that are neither among these names nor used, where the backend keeps them."""


def choose(requested: str, context: str | None, image_repository: str | None) -> BackendChoice:
    """The backend that `up` uses where none is in use yet. An existing context is used only when it is named.

    requested: auto, embedded or kind.
    """
    if context is not None:
        if requested != "auto":
            raise LocalError(f"--context names a cluster of its own: leave out --backend {requested}")
        if not image_repository:
            raise LocalError(
                f"--context {context} needs --image-repository: where its nodes can pull this project's images from "
                "(for example --image-repository registry.example.com/pipelines)"
            )
        return BackendChoice(name="context", context=context, image_repository=image_repository.rstrip("/"))
    if image_repository is not None:
        raise LocalError("--image-repository goes with --context: the local clusters get their images directly")
    if requested == "auto":
        requested = _fitting(sys.platform, os.geteuid())
    if requested not in {"embedded", "kind"}:
        raise LocalError(f"unknown backend {requested!r}: expected auto, embedded or kind")
    return BackendChoice(name=requested)


def _fitting(platform: str, user: int) -> str:
    """The backend that this machine can run. Raises LocalError where there is none."""
    if shutil.which(PROGRAM) is not None and docker_engine_answers():
        return "kind"
    if platform == "linux" and user == 0:
        return "embedded"
    raise LocalError("no cluster can run here: start Docker and install kind, or be root on Linux, or use --context")


def settle(state: State, requested: str, context: str | None, image_repository: str | None) -> BackendChoice:
    """The choice for this `up`: the one in use, unless it contradicts what is asked for."""
    present = state.backend
    asked = (
        present if present and requested == "auto" and context is None else choose(requested, context, image_repository)
    )
    if present and (asked.name, asked.context) != (present.name, present.context):
        raise LocalError(
            f"a cluster of backend {present.name}{f' ({present.context})' if present.context else ''} is in use: "
            "run `pipelines local down` first"
        )
    if asked.name == "kind":
        require_program()  # before the choice is remembered
    return asked


def open_backend(choice: BackendChoice, paths: Paths, state: State) -> Backend:
    if choice.name == "kind":
        return KindBackend(paths)
    if choice.name == "context":
        return ContextBackend(paths, choice)
    return EmbeddedBackend(paths, state)


def current(paths: Paths | None = None) -> Backend:
    """The backend in use, for loading images and the like.

    Raises LocalError where `up` has not been run.
    """
    paths = paths or Paths.from_environment()
    state = State(paths.state)
    if state.backend is None:
        raise LocalError("no cluster is in use: run `pipelines local up`")
    return open_backend(state.backend, paths, state)
