"""Runs `pipelines` as a person would, and shows the command lines and what they say."""

import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from pipeline_local.errors import LocalError
from pipeline_local.install import ENV
from pipeline_local.quickstart import source

PROVIDER = "gcp"


def prepare(console: Console, org: str, *plan: str) -> None:
    """Make the organization with this plan, options of `subscription set`, and an integration with Google Cloud that
    leads to the billing export. Harmless to repeat.

    Raises LocalError with what a command said where it fails.
    """
    pipelines(console, "org", "create", org, "--env", ENV)
    pipelines(console, "subscription", "set", org, *plan)
    settings = (part for name, value in source.SETTINGS.items() for part in ("--setting", f"{name}={value}"))
    pipelines(console, "integration", "set", org, PROVIDER, *settings)


def pipelines(console: Console, *arguments: str) -> None:
    """Run `pipelines` with the services of this process's environment. Raises LocalError where it fails."""
    say(console, f"$ pipelines {shlex.join(arguments)}")
    say(console, told(*arguments))


def say(console: Console, text: str) -> None:
    """Print a text as it is, whatever is in it and however long its lines are."""
    console.print(text.rstrip(), markup=False, highlight=False, soft_wrap=True)


def told(*arguments: str) -> str:
    """What `pipelines` says on standard output, without showing it. Raises LocalError where it fails."""
    program = Path(sys.executable).with_name("pipelines")
    result = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LocalError(f"pipelines {' '.join(arguments[:2])} failed: {result.stderr.strip()[-2000:]}")
    return result.stdout
