"""The kinds of cluster behind `pipelines local`, and which of them a command means."""

from pathlib import Path
from typing import Protocol

from pipeline_local.context import ContextBackend
from pipeline_local.embedded import EmbeddedBackend
from pipeline_local.errors import LocalError
from pipeline_local.kind import KindBackend, docker_engine_answers
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
        requested = "kind" if docker_engine_answers() else "embedded"
    if requested not in {"embedded", "kind"}:
        raise LocalError(f"unknown backend {requested!r}: expected auto, embedded or kind")
    return BackendChoice(name=requested)


def settle(state: State, requested: str, context: str | None, image_repository: str | None) -> BackendChoice:
    """The choice for this `up`: the one in use, unless it contradicts what is asked for."""
    present = state.backend
    if present is None:
        return choose(requested, context, image_repository)
    asked = present if requested == "auto" and context is None else choose(requested, context, image_repository)
    if asked.name != present.name or asked.context != present.context:
        raise LocalError(
            f"a cluster of backend {present.name}{f' ({present.context})' if present.context else ''} is in use: "
            "run `pipelines local down` first"
        )
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
