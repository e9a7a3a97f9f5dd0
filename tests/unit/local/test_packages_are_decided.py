"""Missing Debian packages are installed where that is possible; elsewhere one line says what to do."""

from pathlib import Path

import pytest
from rich.console import Console

from pipeline_local import packages
from pipeline_local.errors import LocalError
from pipeline_local.packages import Package
from pipeline_local.progress import PlainReporter

QUIET = PlainReporter(Console(quiet=True))


@pytest.mark.parametrize(
    ("user", "has_apt", "expected"),
    [
        (0, True, None),
        (1000, True, "missing Debian packages; as root, run: apt-get install --no-install-recommends runc catatonit"),
        (0, False, "missing on this machine: runc catatonit. Install them with your system's package manager"),
        (1000, False, "missing on this machine: runc catatonit. Install them with your system's package manager"),
    ],
)
def test_what_a_person_has_to_do(user: int, has_apt: bool, expected: str | None) -> None:
    told = packages.obstacle(["runc", "catatonit"], user, has_apt)
    assert told == expected or (expected is not None and (told or "").startswith(expected))


def test_a_package_is_shown_by_its_program_or_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tool").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Package("tool", "tool").is_present()
    assert Package("tool", str(tmp_path / "tool")).is_present()
    assert not Package("other", "no-such-tool").is_present()
    assert not Package("other", str(tmp_path / "other")).is_present()


def test_nothing_is_run_when_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "_run", lambda command: pytest.fail(f"ran {command}"))
    packages.ensure([Package("base", "/")], QUIET)


def run_with(monkeypatch: pytest.MonkeyPatch, answers: list[str | None]) -> list[str]:
    """Let apt-get answer so, one after the other; what it was asked for."""
    asked: list[str] = []

    def run(command: list[str]) -> str | None:
        asked.append("update" if "update" in command else "install")
        return answers[len(asked) - 1]

    monkeypatch.setattr(packages, "_run", run)
    monkeypatch.setattr(packages, "obstacle", lambda *_: None)
    return asked


def test_lists_are_updated_only_when_the_installation_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = run_with(monkeypatch, [None])
    packages.ensure([Package("x", "/no/such/file")], QUIET)
    assert asked == ["install"]
    asked = run_with(monkeypatch, ["Unable to locate package", None, None])
    packages.ensure([Package("x", "/no/such/file")], QUIET)
    assert asked == ["install", "update", "install"]


@pytest.mark.parametrize("answers", [["old lists", "no network"], ["old lists", None, "no network"]])
def test_a_failed_installation_says_what_apt_said(monkeypatch: pytest.MonkeyPatch, answers: list[str | None]) -> None:
    run_with(monkeypatch, answers)
    with pytest.raises(LocalError, match=r"(?s)could not install x:.*no network"):
        packages.ensure([Package("x", "/no/such/file")], QUIET)
