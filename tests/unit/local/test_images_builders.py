"""The commands that Docker and buildah are given, by programs of these names that write down their arguments."""

from pathlib import Path

import pytest
from rich.console import Console

from pipeline_local.errors import LocalError
from pipeline_local.images_builders import BASE_VARIABLE, Buildah, Docker
from pipeline_local.images_content import base_tag, checkout
from pipeline_local.progress import PlainReporter

PROGRAM = """#!/bin/sh
echo "$(basename "$0") $*" >> {log}
case "$*" in
  *"images --format"* | *"image ls"*) cat {images} ;;
  *"--storage-driver overlay info"*) exit {overlay} ;;
  *broken*) echo "no space left" >&2; exit 125 ;;
esac
"""


class Programs:
    """docker, buildah and unshare, as the builders find them on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.images = folder / "images"
        self.images.touch()
        self.install(overlay=0)
        unshare = folder / "unshare"
        unshare.write_text('#!/bin/sh\n[ "$1" = --mount ] && shift && exec "$@"\n')
        unshare.chmod(0o755)

    def install(self, overlay: int) -> None:
        for name in ("docker", "buildah"):
            program = self.folder / name
            program.write_text(PROGRAM.format(log=self.log, images=self.images, overlay=overlay))
            program.chmod(0o755)

    @property
    def called(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv(BASE_VARIABLE, raising=False)
    return Programs(tmp_path)


@pytest.fixture
def reporter() -> PlainReporter:
    return PlainReporter(Console(quiet=True))


def test_docker_leaves_the_base_to_the_containerfile(programs: Programs, reporter: PlainReporter) -> None:
    docker = Docker()
    assert docker.base(checkout(), Path("work"), reporter) is None
    docker.build(Path("Containerfile"), Path("context"), "localhost/pipelines-runner:1", None)
    docker.save("localhost/pipelines-runner:1", Path("runner.tar"))
    assert programs.called == [
        "docker build --quiet --tag localhost/pipelines-runner:1 --file Containerfile context",
        "docker save --output runner.tar localhost/pipelines-runner:1",
    ]


def test_docker_removes_what_is_old(programs: Programs) -> None:
    programs.images.write_text("localhost/pipelines-runner:1\nlocalhost/pipelines-runner:2\nsomebody/else:1\n")
    Docker().prune({"localhost/pipelines-runner:2"})
    assert programs.called[-1] == "docker image rm localhost/pipelines-runner:1"


def test_a_base_of_ones_own_is_used_by_both(
    programs: Programs, reporter: PlainReporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BASE_VARIABLE, "registry.example.com/python:3.11")
    for builder in (Docker(), Buildah(tmp_path / "store", tmp_path)):
        base = builder.base(checkout(), tmp_path, reporter)
        assert base == "registry.example.com/python:3.11"
        builder.build(Path("Containerfile"), Path("context"), "localhost/pipelines-runner:1", base)
        assert "--build-arg BASE=registry.example.com/python:3.11" in programs.called[-1]


@pytest.mark.parametrize(("overlay", "driver"), [(0, "overlay"), (125, "vfs")])
def test_buildah_keeps_to_a_store_of_its_own(programs: Programs, tmp_path: Path, overlay: int, driver: str) -> None:
    programs.install(overlay)
    builder = Buildah(tmp_path / "store", tmp_path / "work")
    builder.save("localhost/pipelines-runner:1", Path("runner.tar"))
    place = f"--root {tmp_path}/store --runroot {tmp_path}/work/run --storage-driver"
    assert programs.called[0] == f"buildah {place} overlay info"
    assert all(line.startswith(f"buildah {place} {driver} ") for line in programs.called[1:])
    assert programs.called[-1].endswith(
        "localhost/pipelines-runner:1 oci-archive:runner.tar:localhost/pipelines-runner:1"
    )


def test_buildah_makes_the_base_once(programs: Programs, tmp_path: Path, reporter: PlainReporter) -> None:
    programs.images.write_text(f"localhost/pipelines-base:{base_tag(checkout())}\n")
    builder = Buildah(tmp_path / "store", tmp_path / "work")
    before = len(programs.called)
    base = builder.base(checkout(), tmp_path, reporter)
    assert base == f"localhost/pipelines-base:{base_tag(checkout())}"
    assert len(programs.called) == before + 1  # the look at what there is


def test_buildah_removes_old_images_and_keeps_the_base(programs: Programs, tmp_path: Path) -> None:
    names = ["localhost/pipelines-runner:2", "localhost/pipelines-base:2", "localhost/pipelines-base:1"]
    programs.images.write_text("\n".join([*names, "localhost/pipelines-runner:1", "<none>:<none>"]))
    Buildah(tmp_path / "store", tmp_path).prune({"localhost/pipelines-runner:2"})
    assert programs.called[-2].endswith(" rmi localhost/pipelines-base:1 localhost/pipelines-runner:1")
    assert programs.called[-1].endswith(" rmi --prune --force")


def test_a_failure_is_told_in_the_programs_words(programs: Programs) -> None:
    with pytest.raises(LocalError, match=r"`docker build --quiet --tag \.\.\.` failed with status 125:\nno space left"):
        Docker().build(Path("broken"), Path("context"), "localhost/pipelines-runner:1", None)
