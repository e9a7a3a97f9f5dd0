"""How `pipelines quota show` writes where an organization stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from pipeline_cli import options

if TYPE_CHECKING:
    from pipeline_core.store.quota.ledger import HeldSlot
    from pipeline_core.store.quota.standing import Standing


@dataclass(frozen=True)
class Shown:
    """An organization's standing in its zone, and the slots it holds where they were asked for."""

    standing: "Standing"
    time_zone: str
    held: "Sequence[HeldSlot] | None"


def heading(shown: Shown) -> str:
    """Whose plan it is, and which."""
    return f"{shown.standing.org_slug}: {_plan(shown)}; days and months of {shown.time_zone}"


def of_one(shown: Shown) -> Table:
    """A line for each period."""
    usage, limits = shown.standing.used_today, shown.standing.limits
    numbers = ("USED", "LIMIT", "SUCCEEDED", "FAILED")
    made = options.columns("", "PERIOD", *numbers, numbers=numbers)
    made.add_row(
        "day", str(usage.day), str(usage.day_used), _limit(limits.per_day), str(usage.day_succeeded),
        str(usage.day_failed),
    )  # fmt: skip
    made.add_row(
        "month", f"{usage.month:%Y-%m}", str(usage.month_used), _limit(limits.per_month), str(usage.month_succeeded),
        str(usage.month_failed),
    )  # fmt: skip
    made.add_row("at a time", "now", str(usage.concurrent), _limit(limits.concurrent))
    return made


def of_many(shown: Sequence[Shown]) -> Table:
    """A line for each organization."""
    made = options.columns(
        "ORG", "STATUS", "PLAN", "DAY", "USED", "MONTH", "USED", "AT A TIME", "TIME ZONE", numbers=("USED", "AT A TIME")
    )
    for each in shown:
        usage, limits, standing = each.standing.used_today, each.standing.limits, each.standing
        made.add_row(
            standing.org_slug, standing.status or "none", standing.plan,
            str(usage.day), f"{usage.day_used}/{_limit(limits.per_day)}",
            f"{usage.month:%Y-%m}", f"{usage.month_used}/{_limit(limits.per_month)}",
            f"{usage.concurrent}/{_limit(limits.concurrent)}", each.time_zone,
        )  # fmt: skip
    return made


def held_table(shown: Sequence[Shown]) -> Table:
    """A line for each slot that is held."""
    made = options.columns("ORG", "HELD BY RUN", "SINCE", "OBJECT")
    for slot in (slot for each in shown for slot in each.held or ()):
        there = f"{slot.object_namespace}/{slot.object_name}" if slot.object_name else "none yet"
        made.add_row(slot.org_slug, slot.run_id, f"{slot.reserved_at:%Y-%m-%d %H:%M:%S}", there)
    return made


def plain(shown: Shown) -> dict[str, object]:
    """The same for JSON."""
    usage, standing = shown.standing.used_today, shown.standing
    limits = standing.limits
    found: dict[str, object] = {
        "org_slug": standing.org_slug,
        "status": standing.status,
        "plan": standing.plan,
        "time_zone": shown.time_zone,
        "day": {
            "period": str(usage.day),
            "used": usage.day_used,
            "limit": limits.per_day,
            "succeeded": usage.day_succeeded,
            "failed": usage.day_failed,
        },
        "month": {
            "period": f"{usage.month:%Y-%m}",
            "used": usage.month_used,
            "limit": limits.per_month,
            "succeeded": usage.month_succeeded,
            "failed": usage.month_failed,
        },
        "concurrent": {"used": usage.concurrent, "limit": limits.concurrent},
    }
    if shown.held is not None:
        found["held"] = [
            {
                "run_id": slot.run_id,
                "reserved_at": slot.reserved_at.isoformat(),
                "object_namespace": slot.object_namespace,
                "object_name": slot.object_name,
            }
            for slot in shown.held
        ]
    return found


def _plan(shown: Shown) -> str:
    standing = shown.standing
    if standing.status is None:
        return "no subscription"
    return f"{standing.status}, plan {standing.plan}" if standing.plan else standing.status


def _limit(limit: int | None) -> str:
    return "not set" if limit is None else str(limit)
