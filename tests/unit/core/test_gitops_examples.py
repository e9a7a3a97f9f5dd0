"""The health checks for Argo CD say of schedules and runs what docs/gitops.md says, by the Lua that Argo CD runs."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import LuaRuntime

CONFIG = Path(__file__).parents[3] / "examples/gitops/argocd/argocd-cm.yaml"
CHECKS = yaml.safe_load(CONFIG.read_text())["data"]


def health(kind: str, body: dict[str, Any]) -> tuple[str, str]:
    """What the check of this kind says of an object, which it finds in the variable `obj`."""
    lua = LuaRuntime()
    lua.globals().obj = lua.table_from(body, recursive=True)
    found = lua.execute(CHECKS[f"resource.customizations.health.pipelines.dev_{kind}"])
    return found["status"], found["message"]


def schedule(*conditions: tuple[str, str], generation: int = 2, observed: int = 2) -> dict[str, Any]:
    listed = [{"type": kind, "status": status, "message": f"{kind} it is"} for kind, status in conditions]
    status = {"observedGeneration": observed, "conditions": listed}
    return {"metadata": {"generation": generation}, "status": status}


READY = ("Ready", "True"), ("Suspended", "False"), ("Stalled", "False")
DISABLED = ("Ready", "True"), ("Suspended", "True"), ("Stalled", "False")
STALLED = ("Ready", "False"), ("Suspended", "False"), ("Stalled", "True")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (schedule(*READY), ("Healthy", "Ready it is")),
        (schedule(*DISABLED), ("Suspended", "Suspended it is")),
        (schedule(*STALLED), ("Degraded", "Stalled it is")),
        (schedule(*READY, observed=1), ("Progressing", "Not seen by the operator yet")),
        ({"metadata": {"generation": 1}}, ("Progressing", "Not seen by the operator yet")),
        (schedule(("Ready", "Unknown")), ("Progressing", "Not seen by the operator yet")),
    ],
)
def test_the_health_of_a_schedule(body, expected):
    assert health("PipelineSchedule", body) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Completed", "message": "Loaded"}, ("Healthy", "Loaded")),
        ({"phase": "Cancelled", "message": "Cancelled"}, ("Healthy", "Cancelled")),
        ({"phase": "Failed", "message": "gcp integration not active"}, ("Degraded", "gcp integration not active")),
        ({"phase": "Running", "message": "Extracting"}, ("Progressing", "Extracting")),
        ({}, ("Progressing", "")),
    ],
)
def test_the_health_of_a_run(status, expected):
    assert health("PipelineRun", {"metadata": {}, "status": status} if status else {"metadata": {}}) == expected
