"""Of the node's images only the project's own go, and of these only what nothing names."""

import logging
import subprocess
from pathlib import Path

import pytest

from pipeline_local.embedded import EmbeddedBackend
from pipeline_local.node_images import unwanted
from pipeline_local.paths import Paths
from pipeline_local.state import State

ONE, TWO, THREE, FOUR = (f"sha256:{digit * 64}" for digit in "1234")
OLD, CURRENT = "localhost/pipelines-runner:1", "localhost/pipelines-runner:2"


def listing(*images: tuple[str, str]) -> str:
    """As `ctr images list` prints it."""
    lines = [
        f"{name} application/vnd.oci.image.manifest.v1+json {digest} 9.0 MiB linux/amd64 -" for name, digest in images
    ]
    return "\n".join(["REF TYPE DIGEST SIZE PLATFORMS LABELS", *lines, ""])


IMAGES = listing(
    ("localhost/busybox:1", THREE),
    (OLD, ONE),
    (CURRENT, TWO),
    (f"sha256:{'a' * 64}", ONE),
    (f"sha256:{'b' * 64}", TWO),
    (f"sha256:{'c' * 64}", THREE),
)


def test_an_old_image_goes_by_all_its_names_and_others_stay() -> None:
    assert unwanted(IMAGES, {CURRENT}) == [OLD, f"sha256:{'a' * 64}"]


def test_an_image_in_use_stays() -> None:
    assert unwanted(IMAGES, {CURRENT, OLD}) == []


def test_what_two_names_share_stays_with_the_one_that_is_kept() -> None:
    shared = listing((OLD, TWO), (CURRENT, TWO), (f"sha256:{'b' * 64}", TWO))
    assert unwanted(shared, {CURRENT}) == [OLD]


def test_nothing_listed_is_nothing_to_remove() -> None:
    assert unwanted("", {CURRENT}) == []
    assert unwanted(listing(), set()) == []


class Node:
    """Stands in for the node's programs."""

    def __init__(self, backend: EmbeddedBackend, patch: pytest.MonkeyPatch, used: str, failing: str = "") -> None:
        self.removed: list[str] = []
        self._used, self._failing = used, failing
        patch.setattr(backend, "_kubectl", lambda *_: self._answer("get", used))
        patch.setattr(backend, "_ctr", self._ctr)

    def _ctr(self, _: str, verb: str, *names: str) -> subprocess.CompletedProcess[str]:
        self.removed += names
        return self._answer(verb, IMAGES)

    def _answer(self, verb: str, output: str) -> subprocess.CompletedProcess[str]:
        failed = verb == self._failing
        return subprocess.CompletedProcess([], int(failed), "" if failed else output, "away" if failed else "")


@pytest.fixture
def backend(tmp_path: Path) -> EmbeddedBackend:
    paths = Paths(tmp_path / "cache", tmp_path / "state")
    return EmbeddedBackend(paths, State(paths.state))


def test_the_node_is_asked_what_uses_images(backend: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(backend, monkeypatch, used="localhost/busybox:1")
    backend.prune_images({CURRENT})
    assert node.removed == [OLD, f"sha256:{'a' * 64}"]
    still_used = Node(backend, monkeypatch, used=f"{OLD} {CURRENT}")
    backend.prune_images({CURRENT})
    assert still_used.removed == []


@pytest.mark.parametrize("failing", ["get", "list", "remove"])
def test_a_failure_is_said_and_nothing_more(
    backend: EmbeddedBackend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failing: str
) -> None:
    node = Node(backend, monkeypatch, used="", failing=failing)
    with caplog.at_level(logging.WARNING):
        backend.prune_images({CURRENT})
    assert "stay in the node: away" in caplog.text
    assert bool(node.removed) is (failing == "remove")
