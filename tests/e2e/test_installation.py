"""The installation itself: Helm's own test of it, what a shell is told of it, and installing it again."""

import os
import subprocess
import sys

from pipeline_local.install import helm
from pipeline_local.state import State
from support.installation import Installation


def test_helm_test_passes(installation: Installation) -> None:
    result = helm(installation.paths, "test", "pipelines", "--timeout=90s")
    assert result.returncode == 0, result.stderr


def test_local_env_is_all_that_a_shell_needs(installation: Installation) -> None:
    lines = subprocess.run(
        [sys.executable, "-m", "pipeline_local", "env"], check=True, capture_output=True, text=True
    ).stdout
    shell = f'{lines}\nkubectl get plr && helm list && test -n "$PIPELINES_DATABASE_URL" && printenv'
    plain = {"PATH": os.defpath, "HOME": os.environ["HOME"]}
    told = subprocess.run(["sh", "-euc", shell], env=plain, check=True, capture_output=True, text=True).stdout
    for name in (
        "KUBECONFIG",
        "BIGQUERY_EMULATOR_HOST",
        "PIPELINES_BIGQUERY_PROJECT",
        "PIPELINES_BRIDGE_URL",
        "PIPELINES_API_KEY_PEPPER",
    ):
        assert f"\n{name}=" in told


def test_secrets_stand_in_secrets_alone(installation: Installation) -> None:
    password = installation.database_url.partition("pipelines:")[2].partition("@")[0]
    pepper = State(installation.paths.state).exports["PIPELINES_API_KEY_PEPPER"]
    shown = installation.kubectl("get", "all,configmaps,plr,events", "--output=yaml")
    for secret in (password, pepper):
        assert secret
        assert secret not in shown
