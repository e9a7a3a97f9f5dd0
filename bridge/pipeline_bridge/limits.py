"""Says which limit of its plan refuses an organization's run, what is left of each, and when to ask again."""

import math

from pipeline_bridge.problems import Problem
from pipeline_core.admission.quota import (
    ConcurrentLimitReachedError,
    DailyLimitReachedError,
    MonthlyLimitReachedError,
    QuotaExceededError,
)
from pipeline_core.store.quota.standing import Standing

# A run takes minutes, and when one ends nobody can say.
_CONCURRENT_RETRY_SECONDS = 30
_NAMES: dict[type[QuotaExceededError], str] = {
    DailyLimitReachedError: "daily",
    MonthlyLimitReachedError: "monthly",
    ConcurrentLimitReachedError: "concurrent",
}


def limit_problem(error: QuotaExceededError, standing: Standing) -> Problem:
    """The answer 429 to a run that `error` refuses. `standing` was read after it, and may be ahead of it."""
    limits, used = standing.limits, standing.used_today
    reached = _NAMES[type(error)]
    counts = {
        "daily": (limits.per_day or 0, used.day_used),
        "monthly": (limits.per_month or 0, used.month_used),
        "concurrent": (limits.concurrent or 0, used.concurrent),
    }
    # As it was when the run was refused: a slot may have become free since.
    counts[reached] = (error.limit or 0, max(error.limit or 0, counts[reached][1]))
    remaining = {name: max(limit - count, 0) for name, (limit, count) in counts.items()}
    again_in = {
        "daily": math.ceil(standing.day_ends_in.total_seconds()),
        "monthly": math.ceil(standing.month_ends_in.total_seconds()),
        "concurrent": _CONCURRENT_RETRY_SECONDS,
    }
    limit, count = counts[reached]
    return Problem(
        429,
        error.reason,
        str(error),
        title=error.title,
        headers={
            "Retry-After": str(max(again_in[reached], 1)),
            "X-Quota-Limit": reached,
            **{f"X-Quota-Remaining-{name.capitalize()}": str(left) for name, left in remaining.items()},
        },
        members={
            "limit": {"name": reached, "limit": limit, "used": count, "remaining": remaining[reached]},
            "remaining": remaining,
        },
    )
