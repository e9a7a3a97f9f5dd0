"""An image's tag changes with everything that goes into it, and with nothing else."""

import os
from pathlib import Path

import pytest

from pipeline_local.errors import LocalError
from pipeline_local.images_content import DEFINITIONS, PYTHON, Definition, base_tag, checkout, install_command, tag

DEFINITION = Definition("runner", ("core/pipeline_core", "local/pipeline_local/errors.py"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small checkout."""
    for name, content in {
        "images/dockerignore": "**/tests\n",
        "images/base/make-rootfs": "#!/bin/sh\n",
        "images/runner/Containerfile": "FROM scratch\n",
        "locks/runner.txt": "httpx2==1\n",
        "core/pipeline_core/__init__.py": "",
        "core/pipeline_core/deep/query.sql": "SELECT 1",
        "local/pipeline_local/errors.py": "",
        "local/pipeline_local/builds.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    "changed",
    [
        "images/dockerignore",
        "images/runner/Containerfile",
        "locks/runner.txt",
        "core/pipeline_core/__init__.py",
        "core/pipeline_core/deep/query.sql",
        "local/pipeline_local/errors.py",
    ],
)
def test_changed_content_is_a_changed_tag(root: Path, changed: str) -> None:
    before = tag(DEFINITION, root, "base")
    (root / changed).write_text("changed")
    assert tag(DEFINITION, root, "base") != before


def test_a_new_or_renamed_source_is_a_changed_tag(root: Path) -> None:
    tags = [tag(DEFINITION, root, "base")]
    (root / "core/pipeline_core/new.py").write_text("")
    tags.append(tag(DEFINITION, root, "base"))
    (root / "core/pipeline_core/new.py").rename(root / "core/pipeline_core/newer.py")
    tags.append(tag(DEFINITION, root, "base"))
    assert len(set(tags)) == 3


def test_content_moved_between_neighbouring_files_is_a_changed_tag(root: Path) -> None:
    first, second = root / "core/pipeline_core/a.py", root / "core/pipeline_core/b.py"
    first.write_text("xy")
    second.write_text("z")
    before = tag(DEFINITION, root, "base")
    first.write_text("x")
    second.write_text("yz")
    assert tag(DEFINITION, root, "base") != before


def test_another_base_is_a_changed_tag(root: Path) -> None:
    assert tag(DEFINITION, root, "one") != tag(DEFINITION, root, "other")


@pytest.mark.parametrize(
    "unrelated",
    ["local/pipeline_local/builds.py", "core/pipeline_core/__pycache__/a.cpython-311.pyc", "locks/operator.txt"],
)
def test_what_the_image_lacks_leaves_its_tag(root: Path, unrelated: str) -> None:
    before = tag(DEFINITION, root, "base")
    (root / unrelated).parent.mkdir(exist_ok=True)
    (root / unrelated).write_text("changed")
    assert tag(DEFINITION, root, "base") == before


def test_times_and_rights_leave_the_tag(root: Path) -> None:
    before = tag(DEFINITION, root, "base")
    os.utime(root / "locks/runner.txt", (0, 0))
    (root / "locks/runner.txt").chmod(0o600)
    assert tag(DEFINITION, root, "base") == before


def test_the_base_tag_follows_the_way_the_base_is_made(root: Path) -> None:
    before = base_tag(root)
    (root / "locks/runner.txt").write_text("changed")
    assert base_tag(root) == before
    (root / "images/base/make-rootfs").write_text("changed")
    assert base_tag(root) != before


def test_a_missing_source_is_named(root: Path) -> None:
    (root / "locks/runner.txt").unlink()
    with pytest.raises(LocalError, match=r"locks/runner\.txt, which is missing"):
        tag(DEFINITION, root, "base")


def test_every_image_of_the_project_has_a_tag_of_its_own() -> None:
    tags = {tag(definition, checkout(), "base") for definition in DEFINITIONS}
    assert len(tags) == len(DEFINITIONS) == 3
    assert all(len(each) == 16 and each.isalnum() for each in tags)


def test_wheels_are_chosen_for_the_image_and_checked_against_the_lock() -> None:
    command = install_command(Path("lock.txt"), Path("target"), "aarch64")
    assert command[command.index("--python-version") + 1] == PYTHON
    assert command[command.index("--python-platform") + 1] == "aarch64-manylinux_2_36"
    assert {"--require-hashes", "--no-deps"} <= set(command)
    assert command[command.index("--only-binary") + 1] == ":all:"
