"""When an organization's day and month end, by PostgreSQL's clock and in the organization's time zone."""

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from pipeline_core.store.quota.ledger import QuotaLedger
from support.quota import give_clock, organization, run_of, set_clock


@pytest.mark.parametrize(
    ("zone", "moment", "today", "day_ends_in", "month_ends_in"),
    [
        ("Etc/UTC", datetime(2026, 11, 22, 3, tzinfo=UTC), date(2026, 11, 22), 21, 8 * 24 + 21),
        ("Etc/UTC", datetime(2026, 12, 31, 23, tzinfo=UTC), date(2026, 12, 31), 1, 1),
        ("Asia/Tokyo", datetime(2026, 11, 22, 15, tzinfo=UTC), date(2026, 11, 23), 24, 8 * 24),
        ("America/New_York", datetime(2026, 12, 1, 4, tzinfo=UTC), date(2026, 11, 30), 1, 1),
        # Days of 25 and of 23 hours.
        ("Europe/Madrid", datetime(2026, 10, 24, 22, tzinfo=UTC), date(2026, 10, 25), 25, 6 * 24 + 25),
        ("Europe/Madrid", datetime(2026, 3, 28, 23, tzinfo=UTC), date(2026, 3, 29), 23, 2 * 24 + 23),
        # A day that begins at one o'clock.
        ("Africa/Cairo", datetime(2026, 4, 23, 21, 30, tzinfo=UTC), date(2026, 4, 23), 0.5, 7 * 24 - 0.5),
    ],
)
async def test_days_and_months_end_where_the_organization_is(
    database_url: str,
    engine: AsyncEngine,
    zone: str,
    moment: datetime,
    today: date,
    day_ends_in: float,
    month_ends_in: float,
) -> None:
    give_clock(database_url)
    await organization(engine, "acme", zone=zone)
    await set_clock(engine, moment)
    standing = await QuotaLedger(engine).standing("acme")
    assert standing.today == today
    assert standing.day_ends_in == timedelta(hours=day_ends_in)
    assert standing.month_ends_in == timedelta(hours=month_ends_in)


async def test_a_day_that_was_begun_further_east_has_to_end_first(database_url: str, engine: AsyncEngine) -> None:
    give_clock(database_url)
    await organization(engine, "acme", zone="Pacific/Auckland")
    await set_clock(engine, datetime(2026, 11, 30, 12, tzinfo=UTC))
    ledger = QuotaLedger(engine)
    await ledger.reserve(run_of("acme", "run_1"))  # on the first of December there
    await organization(engine, "acme", zone="Etc/UTC")
    standing = await ledger.standing("acme")
    assert standing.today == date(2026, 11, 30)
    assert standing.used_today.day == date(2026, 12, 1)
    assert standing.day_ends_in == timedelta(hours=36)
    assert standing.month_ends_in == timedelta(days=31, hours=12)


async def test_of_one_that_isnt_known_they_are_utcs(database_url: str, engine: AsyncEngine) -> None:
    give_clock(database_url)
    await set_clock(engine, datetime(2026, 11, 22, 3, tzinfo=UTC))
    assert (await QuotaLedger(engine).standing("nobody")).day_ends_in == timedelta(hours=21)
