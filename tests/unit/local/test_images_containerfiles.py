"""The Containerfiles keep what the chart and the admission rules rely on: no root, no network, no foreign file."""

import re
from pathlib import Path

import pytest

from pipeline_local.images_content import DEFINITIONS, PYTHON, Definition, checkout


def instructions(containerfile: Path) -> list[tuple[str, str]]:
    """(instruction, arguments), comments and line breaks taken out."""
    text = "\n".join(line for line in containerfile.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1]) for line in lines if line.strip()]


@pytest.fixture(params=DEFINITIONS, ids=lambda definition: definition.name)
def definition(request: pytest.FixtureRequest) -> Definition:
    assert isinstance(request.param, Definition)
    return request.param


@pytest.fixture
def parsed(definition: Definition) -> list[tuple[str, str]]:
    return instructions(definition.containerfile(checkout()))


def test_runs_as_a_number_that_is_not_root(parsed: list[tuple[str, str]]) -> None:
    # a name couldn't be checked by the kubelet's runAsNonRoot
    assert [value for name, value in parsed if name == "USER"] == ["65532:65532"]
    after_user = parsed[[name for name, _ in parsed].index("USER") :]
    assert not [value for name, value in after_user if name == "RUN"]


def test_copies_the_context_only(parsed: list[tuple[str, str]]) -> None:
    assert not [value for name, value in parsed if name == "ADD"]
    copies = [value for name, value in parsed if name == "COPY"]
    assert copies == ["dependencies/ /opt/pipelines/dependencies/", "project/ /opt/pipelines/project/"]


def test_the_build_fetches_nothing(parsed: list[tuple[str, str]]) -> None:
    commands = " ".join(value for name, value in parsed if name == "RUN")
    assert not re.search(r"://|\b(apt|apt-get|pip|uv|curl|wget)\b", commands)


def test_the_base_is_an_argument_with_the_python_of_the_wheels(parsed: list[tuple[str, str]]) -> None:
    assert parsed[0][0] == "ARG"
    assert re.fullmatch(rf"BASE=\S+:{re.escape(PYTHON)}-slim-bookworm", parsed[0][1])
    assert parsed[1] == ("FROM", "${BASE}")


def test_bytecode_never_asks_for_its_source(parsed: list[tuple[str, str]]) -> None:
    compiled = [value for name, value in parsed if name == "RUN" and "compileall" in value]
    assert len(compiled) == 2
    assert all("--invalidation-mode unchecked-hash" in value for value in compiled)
    assert any("PYTHONDONTWRITEBYTECODE=1" in value for name, value in parsed if name == "ENV")


def test_holds_no_secret(parsed: list[tuple[str, str]]) -> None:
    assert not [value for name, value in parsed if re.search(r"password|secret|token|key", value, re.IGNORECASE)]


def test_has_the_open_container_labels(definition: Definition, parsed: list[tuple[str, str]]) -> None:
    labels = " ".join(value for name, value in parsed if name == "LABEL")
    assert f'org.opencontainers.image.title="pipelines-{definition.name}"' in labels
    for label in ("description", "licenses", "vendor"):
        assert f"org.opencontainers.image.{label}=" in labels


def test_the_base_made_here_has_the_same_python() -> None:
    script = (checkout() / "images/base/make-rootfs").read_text()
    assert "debootstrap --force-check-gpg --variant=minbase" in script
    assert f"/usr/lib/python{PYTHON}" in script
    assert " bookworm " in script
