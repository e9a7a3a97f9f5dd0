"""What `build_all` builds, keeps and removes, with a builder that only writes down what it is asked for."""

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline_local import images
from pipeline_local.errors import LocalError
from pipeline_local.images_builders import removable
from pipeline_local.images_content import DEFINITIONS, Definition
from pipeline_local.paths import Paths
from pipeline_local.progress import Reporter, Step


class RecordingBuilder:
    def __init__(self) -> None:
        self.built: list[str] = []
        self.kept: list[Collection[str]] = []
        self.failing = ""

    def base(self, root: Path, work: Path, reporter: Reporter) -> str | None:
        return "localhost/pipelines-base:1"

    def build(self, containerfile: Path, context: Path, reference: str, base: str | None) -> None:
        assert (context / "staged").exists()
        assert base == "localhost/pipelines-base:1"
        if self.failing and self.failing in reference:
            raise LocalError("out of luck")
        self.built.append(containerfile.parent.name)

    def save(self, reference: str, archive: Path) -> None:
        archive.write_text(reference)

    def prune(self, keep: Collection[str]) -> None:
        self.kept.append(keep)


class SilentReporter:
    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        class Nothing:
            def update(self, done: int, total: int) -> None:
                assert 0 < done <= total

        yield Nothing()


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> RecordingBuilder:
    made = RecordingBuilder()

    def staged(definition: Definition, root: Path, context: Path) -> None:
        context.mkdir()
        (context / "staged").touch()

    monkeypatch.setattr(images, "_builder", lambda *_: made)
    monkeypatch.setattr(images, "stage", staged)
    return made


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "cache", state=tmp_path / "state")


def test_builds_all_the_first_time_and_nothing_the_second(builder: RecordingBuilder, paths: Paths) -> None:
    first = images.build_all(SilentReporter(), paths)
    assert builder.built == ["operator", "runner", "dev-services"]
    assert all(image.archive.read_text() == image.reference for image in first.values())
    assert builder.kept == [{image.reference for image in first.values()}]
    assert images.build_all(SilentReporter(), paths) == first
    assert len(builder.built) == 3


def test_builds_only_what_is_missing(builder: RecordingBuilder, paths: Paths) -> None:
    images.build_all(SilentReporter(), paths)["runner"].archive.unlink()
    images.build_all(SilentReporter(), paths)
    assert builder.built[3:] == ["runner"]


def test_a_failed_build_leaves_what_was_done_and_no_rest(builder: RecordingBuilder, paths: Paths) -> None:
    builder.failing = "pipelines-runner"
    with pytest.raises(LocalError, match="out of luck"):
        images.build_all(SilentReporter(), paths)
    folder = paths.cache / "images"
    assert [archive.name.split("-")[0] for archive in (folder / "archives").iterdir()] == ["operator"]
    assert not list(folder.glob(".work-*"))
    builder.failing = ""
    images.build_all(SilentReporter(), paths)
    assert builder.built == ["operator", "runner", "dev-services"]


def test_the_rest_of_a_killed_build_goes(builder: RecordingBuilder, paths: Paths) -> None:
    rest = paths.cache / "images" / ".work-dead" / "rootfs"
    rest.mkdir(parents=True)
    images.build_all(SilentReporter(), paths)
    assert not rest.exists()


def test_old_archives_go_and_the_newest_stay(builder: RecordingBuilder, paths: Paths) -> None:
    archives = paths.cache / "images" / "archives"
    archives.mkdir(parents=True)
    for age in range(1, 6):
        for definition in DEFINITIONS:
            old = archives / f"{definition.name}-{age:016d}.tar"
            old.touch()
            os.utime(old, (10_000 - age, 10_000 - age))
    current = images.build_all(SilentReporter(), paths)
    left = sorted(path.name for path in archives.iterdir())
    assert left == sorted(
        [image.archive.name for image in current.values()]
        + [f"{definition.name}-{age:016d}.tar" for definition in DEFINITIONS for age in (1, 2)]
    )


def test_removes_no_image_of_others() -> None:
    present = ["localhost/pipelines-runner:1", "localhost/pipelines-runner:2", "docker.io/library/pipelines-x:1", "a:1"]
    assert removable(present, {"localhost/pipelines-runner:2"}) == ["localhost/pipelines-runner:1"]
