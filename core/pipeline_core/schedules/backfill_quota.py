"""What a backfill takes of an organization's quota: what is used by now, and how many days it needs at least."""

from dataclasses import dataclass

from pipeline_core.admission.quota import Usage
from pipeline_core.admission.subscription import Limits


@dataclass(frozen=True, slots=True)
class BackfillQuota:
    """The plan's limits, None where nobody set them, and what is used of them.

    `days_at_least` counts today: so many days of the organization the runs take at the daily limit, if nothing else
    runs. None: with this limit they never end.
    """

    daily_limit: int | None
    daily_used: int
    monthly_limit: int | None
    monthly_used: int
    days_at_least: int | None


def backfill_quota(runs: int, limits: Limits, used: Usage) -> BackfillQuota:
    """What `runs` runs take beside what is `used` as of today."""
    a_day = limits.per_day or 0
    today = max(a_day - used.day_used, 0)
    later = max(runs - today, 0)
    days = 1 + -(-later // a_day) if a_day else None
    return BackfillQuota(limits.per_day, used.day_used, limits.per_month, used.month_used, days)
