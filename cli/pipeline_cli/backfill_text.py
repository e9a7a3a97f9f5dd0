"""What `pipelines backfill` says: of a backfill before it begins, of Git, and how far it is."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import yaml

from pipeline_core.kube.gitops import Manager
from pipeline_core.schedules.backfill import BackfillPlan
from pipeline_core.schedules.backfill_quota import backfill_quota
from pipeline_core.schedules.observed import BackfillSpec

if TYPE_CHECKING:
    from pipeline_core.kube.api import Json
    from pipeline_core.store.quota.standing import Standing


def plan_lines(schedule: "Json", asked: BackfillSpec, plan: BackfillPlan, standing: "Standing | str") -> Iterator[str]:
    """What the backfill would be; `standing` is the organization's, or why nobody knows."""
    metadata, spec = schedule["metadata"], schedule["spec"]
    pipeline = f"{spec['provider']}/{spec['domain']}/{spec['pipeline']}"
    yield f"Backfill {asked.id} of schedule {metadata['namespace']}/{metadata['name']}: {pipeline} for {spec['org']}"
    range_of_it = f", of {_minute(plan.first)} to {_minute(plan.last)} UTC" if plan.first and plan.last else ""
    yield f"  runs:      {plan.total}{range_of_it}; {asked.concurrency} at a time"
    if plan.left_out:
        yield f"  left out:  {plan.left_out}, which are still to come"
    if isinstance(standing, str):
        yield f"  quota:     not known: {standing}"
    else:
        yield from _quota_lines(plan.total, standing)


def _quota_lines(runs: int, standing: "Standing") -> Iterator[str]:
    quota = backfill_quota(runs, standing.limits, standing.used_today)
    if not standing.is_known:
        yield f"  quota:     organization {standing.org_slug} isn't known: nothing runs"
        return
    if (standing.status or "").upper() not in {"ACTIVE", "TRIAL"}:
        yield f"  quota:     the subscription is {standing.status or 'missing'}: nothing runs until it is active"
        return
    yield (
        f"  quota:     {quota.daily_used} of {_limit(quota.daily_limit)} are used today, and "
        f"{quota.monthly_used} of {_limit(quota.monthly_limit)} this month"
    )
    if quota.days_at_least is None or not quota.monthly_limit:
        yield "  takes:     forever: the plan allows no runs"
        return
    days = "it can be done today" if quota.days_at_least == 1 else f"{quota.days_at_least} days at the earliest"
    yield f"  takes:     {days}, if nothing else runs"
    left = max(quota.monthly_limit - quota.monthly_used, 0)
    if runs > left:
        yield f"             more than are left of this month ({left}): the rest waits for the next one"


def git_lines(schedule: "Json", manager: Manager, change: Mapping[str, Any] | None) -> Iterator[str]:
    """Why the schedule isn't changed here, and what has to be changed in Git; `change` is of `spec.backfill`."""
    yield (
        f"schedule {schedule['metadata']['name']} is managed by {manager}: what is done here would be undone or "
        "contradict it"
    )
    if change is None:
        yield "Take spec.backfill out of what is in Git; or use --force."
        return
    yield "Put this into what is in Git; or use --force:"
    yield ""
    fields = {name: value for name, value in change.items() if value is not False or len(change) == 1}
    yield yaml.safe_dump({"spec": {"backfill": fields}}, sort_keys=False).rstrip()


def progress_line(state: str, progress: Mapping[str, Any]) -> str:
    """How far it is, in a line."""
    if "total" not in progress:
        return f"{state}: the operator hasn't begun it yet"
    succeeded, failed = progress.get("succeeded", 0), progress.get("failed", 0)
    line = f"{state}: {succeeded + failed} of {progress['total']} runs have ended"
    if failed:
        line += f", {failed} of them not as completed"
    active = progress.get("active", 0)
    message = progress.get("message")
    return line + (f"; {active} under way" if active else "") + (f"; {message}" if message else "")


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"


def _limit(limit: int | None) -> str:
    return "0 (no limit is set)" if limit is None else str(limit)
