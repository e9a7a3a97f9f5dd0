"""Runs the simulated APIs of OpenAI and Anthropic as a process."""

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

from pipeline_local.services.processes import reached_at

NAME = "the providers' simulators"
STOP_SIGNAL = signal.SIGTERM
# Those that the others need alone: anybody who reaches a simulator controls it.
_NOT_PASSED_ON = ("PIPELINES_DEV_POSTGRES_PASSWORD",)


def launch(host: str, port: int, seed: int) -> subprocess.Popen[bytes]:
    """Start them on the address that the services have; their log goes where ours goes."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    command = [sys.executable, "-m", "pipeline_local.simulators", f"--seed={seed}", f"--host={host}", f"--port={port}"]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**environment, "PIPELINES_DEV_HOST": host})


def is_ready(host: str, port: int) -> bool:
    """Whether they answer."""
    try:
        with urllib.request.urlopen(f"http://{reached_at(host)}:{port}/_simulator/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
