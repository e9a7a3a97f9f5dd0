"""What a backfill takes of a quota: how many days it needs at least."""

from datetime import date

import pytest

from pipeline_core.admission.quota import Usage
from pipeline_core.admission.subscription import Limits
from pipeline_core.schedules.backfill_quota import backfill_quota

TODAY = date(2026, 11, 22)


@pytest.mark.parametrize(
    ("runs", "limit", "used", "days"),
    [
        (1, 20, 0, 1),
        (20, 20, 0, 1),
        (21, 20, 0, 2),
        (17, 20, 3, 1),
        (18, 20, 3, 2),
        (37, 20, 3, 2),
        (38, 20, 3, 3),
        (1, 20, 20, 2),
        (1, 20, 25, 2),
        (5000, 1, 0, 5000),
        (1, 0, 0, None),
        (1, None, 0, None),
    ],
)
def test_days_at_the_daily_limit(runs: int, limit: int | None, used: int, days: int | None) -> None:
    usage = Usage(day=TODAY, month=TODAY.replace(day=1), day_used=used, month_used=used)
    found = backfill_quota(runs, Limits(limit, 500, 1), usage)
    assert found.days_at_least == days
    assert (found.daily_limit, found.daily_used, found.monthly_limit, found.monthly_used) == (limit, used, 500, used)
