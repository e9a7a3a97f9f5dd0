"""What `env` prints means the same to a shell, whatever the values hold."""

import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline_local import cli
from pipeline_local.paths import Paths
from pipeline_local.shell import export_lines
from pipeline_local.state import BackendChoice, State

PATHS = Paths(cache=Path("/cache"), state=Path("/with space/it's"))
AWKWARD = [
    "plain",
    "two words",
    "it's",
    '"quoted"',
    "$HOME",
    "`id`",
    "a\nb",
    "postgresql://u:p%40@127.0.0.1:1/d?x=1&y=2",
]


@pytest.mark.parametrize("value", AWKWARD)
def test_a_shell_reads_back_the_value(value: str) -> None:
    script = "\n".join([*export_lines(PATHS, {"VALUE": value}, "/usr/bin:/bin"), 'printf %s "$VALUE"'])
    result = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == value


def test_the_bin_folder_comes_first_and_once() -> None:
    once = export_lines(PATHS, {}, "/usr/bin:/bin")
    again = export_lines(PATHS, {}, os.pathsep.join(["/with space/it's/bin", "/usr/bin", "/bin"]))
    assert once == again
    script = "\n".join([*once, 'printf %s "$PATH"'])
    result = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout == "/with space/it's/bin:/usr/bin:/bin"


def test_the_project_is_on_the_path_after_the_evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "venv" / "bin" / "pipelines"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho ours\n")
    program.chmod(0o755)
    monkeypatch.setattr(cli.sys, "executable", str(program.parent / "python"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    State().set_backend(BackendChoice(name="embedded"))
    for _ in range(2):
        printed = CliRunner().invoke(cli.app, ["env"])
        assert printed.exit_code == 0, printed.output
    result = subprocess.run(
        ["/bin/sh", "-c", f"{printed.output}\npipelines"], capture_output=True, text=True, check=True
    )
    assert result.stdout == "ours\n"


def test_kubeconfig_is_the_clusters() -> None:
    assert export_lines(PATHS, {}, "")[0] == "export KUBECONFIG='/with space/it'\"'\"'s/kubeconfig'"
