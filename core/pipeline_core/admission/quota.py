"""The limits of a plan against what is used: which one refuses a run, and in which words.

The database decides whether a slot is taken, in one statement (`store.quota.reserve`); this says why it wasn't, and is
what the tests hold that statement against.
"""

from dataclasses import dataclass
from datetime import date

from pipeline_core.admission.subscription import Limits
from pipeline_core.errors import PipelinesError


class QuotaExceededError(PipelinesError):
    """A limit of the organization's plan is reached. `limit` is its number, None where none is set."""

    word = ""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        told = "not set" if limit is None else limit
        super().__init__(f"{self.word} pipeline limit ({told}) reached", title=f"{self.word} pipeline limit reached")


class DailyLimitReachedError(QuotaExceededError):
    """As many runs as the plan allows in a day were started today."""

    reason = "DailyLimitReached"
    word = "Daily"


class MonthlyLimitReachedError(QuotaExceededError):
    """As many runs as the plan allows in a month were started this month."""

    reason = "MonthlyLimitReached"
    word = "Monthly"


class ConcurrentLimitReachedError(QuotaExceededError):
    """As many runs as the plan allows at a time are under way; waiting helps, with the other limits it doesn't."""

    reason = "ConcurrentLimitReached"
    word = "Concurrent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an organization has used: of the day and of the month (its first day), and now.

    `day_used` counts the runs admitted in the day but for those given back, which never started. `succeeded` and
    `failed` are of those; a cancelled run is neither. `concurrent` is how many slots are held.
    """

    day: date
    month: date
    day_used: int = 0
    day_succeeded: int = 0
    day_failed: int = 0
    month_used: int = 0
    month_succeeded: int = 0
    month_failed: int = 0
    concurrent: int = 0

    def on(self, today: date) -> "Usage":
        """The same as of a day: a new day or month begins at 0. The day never moves backwards."""
        day = max(self.day, today)
        month = day.replace(day=1)
        if day == self.day:
            return self
        same_month = month == self.month
        return Usage(
            day=day,
            month=month,
            month_used=self.month_used if same_month else 0,
            month_succeeded=self.month_succeeded if same_month else 0,
            month_failed=self.month_failed if same_month else 0,
            concurrent=self.concurrent,
        )


def exceeded(limits: Limits, usage: Usage) -> QuotaExceededError | None:
    """Why one more run isn't allowed; None where it is. `usage` is as of today.

    The limits that waiting doesn't help with come first.
    """
    if usage.day_used >= (limits.per_day or 0):
        return DailyLimitReachedError(limits.per_day)
    if usage.month_used >= (limits.per_month or 0):
        return MonthlyLimitReachedError(limits.per_month)
    if usage.concurrent >= (limits.concurrent or 0):
        return ConcurrentLimitReachedError(limits.concurrent)
    return None
