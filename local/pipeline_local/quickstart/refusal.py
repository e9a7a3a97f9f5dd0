"""Shows a run that its organization's plan doesn't allow, and checks what it is told."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from pipeline_local.errors import LocalError
from pipeline_local.kubectl import Kubectl
from pipeline_local.quickstart import commands, run

ORG = "globex"
PLAN = ("--status", "TRIAL", "--plan", "trial", "--per-day", "0", "--per-month", "0", "--concurrent", "1")
NAME = "gcp-billing-globex-quickstart"
REASON = "DailyLimitReached"
MESSAGE = "Daily pipeline limit (0) reached"

_LABEL = "refused"
_EXAMPLE = "run-gcp-billing.yaml"


def show_and_check(kubectl: Kubectl, root: Path, file: Path, console: Console) -> None:
    """Prepare an organization on a trial without any runs, and have it ask for one; `file` is for the manifest.

    Raises LocalError where the run isn't refused, or in other words.
    """
    console.print("\nA run that the organization's plan doesn't allow", style="bold", highlight=False)
    commands.prepare(console, ORG, *PLAN)
    run.apply_anew(kubectl, [manifest(root)], file, console, label=_LABEL)
    refused = run.follow(kubectl, {ORG: NAME}, _LABEL, console, ends_as="Failed")
    reason, message = check(refused[ORG])
    console.print(f"refused: Admitted=False  {reason}  {message}", markup=False, highlight=False, soft_wrap=True)


def manifest(root: Path) -> dict[str, Any]:
    """The example, for the organization on a trial."""
    document: dict[str, Any] = yaml.safe_load((root / "examples" / _EXAMPLE).read_text())
    document["metadata"]["name"] = NAME
    document["spec"]["org"] = ORG
    return document


def check(refused: Mapping[str, Any]) -> tuple[str, str]:
    """The reason and the message of a run that was refused. Raises LocalError if they aren't those of the limit."""
    status = refused["status"]
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    admitted: Mapping[str, Any] = conditions.get("Admitted", {})
    told = (admitted.get("status"), admitted.get("reason"), status.get("message"))
    if told != ("False", REASON, MESSAGE):
        raise LocalError(
            f"the run {NAME} should be refused with Admitted=False, {REASON}, {MESSAGE!r}; "
            f"it has Admitted={told[0]}, {told[1]}, {told[2]!r}"
        )
    return REASON, MESSAGE
