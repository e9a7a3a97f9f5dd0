"""`make` fills the checkout's own .venv, whatever environment is active, and repairs one that was interrupted."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MAKE_VENV = Path(__file__).resolve().parents[3] / "local" / "make-venv"
# Stands in for the machine's Python: makes environments whose programs write down how they were called.
PYTHON = r"""#!/bin/sh
[ "$1" = -c ] && exit 0
echo "python $*" >> log
mkdir -p .venv/bin
printf '#!/bin/sh\necho "pip $*" >> log\n' > .venv/bin/python
printf '#!/bin/sh\necho "uv $*" >> log\n' > .venv/bin/uv
chmod +x .venv/bin/python .venv/bin/uv
"""
MADE = "python -m venv --clear .venv"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    shutil.copy(MAKE_VENV, tmp_path / "local")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def make(checkout: Path) -> list[str]:
    """The calls of one run, in order."""
    (checkout / "log").unlink(missing_ok=True)
    environment = {**os.environ, "PYTHON": str(checkout / "python"), "VIRTUAL_ENV": "/somebody/elses"}
    subprocess.run([checkout / "local" / "make-venv"], env=environment, check=True, capture_output=True)
    return (checkout / "log").read_text().splitlines()


def test_everything_goes_into_the_checkouts_environment(checkout: Path) -> None:
    calls = make(checkout)
    assert calls[0] == MADE
    installs = [call for call in calls if call.startswith("uv ")]
    assert len(installs) == 2
    assert all("--python .venv/bin/python" in call for call in installs)


def test_a_whole_environment_is_kept(checkout: Path) -> None:
    make(checkout)
    assert MADE not in make(checkout)


def test_an_environment_without_pip_is_made_again(checkout: Path) -> None:
    make(checkout)
    (checkout / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")  # interrupted before pip was there
    assert MADE in make(checkout)
