"""Which limit refuses a run and in which words, when a day and a month begin anew, and who may run at all."""

from dataclasses import replace
from datetime import date

import pytest

from pipeline_core.admission.quota import (
    ConcurrentLimitReachedError,
    DailyLimitReachedError,
    MonthlyLimitReachedError,
    QuotaExceededError,
    Usage,
    exceeded,
)
from pipeline_core.admission.subscription import (
    Limits,
    OrganizationNotFoundError,
    SubscriptionInactiveError,
    check_subscription,
)
from pipeline_core.errors import PipelinesError

DAY, MONTH = date(2026, 11, 22), date(2026, 11, 1)
LIMITS = Limits(per_day=6, per_month=100, concurrent=20)


def usage(**used: int) -> Usage:
    return Usage(day=DAY, month=MONTH, **used)


FULL = Usage(
    day=DAY,
    month=MONTH,
    day_used=6,
    day_succeeded=3,
    day_failed=2,
    month_used=9,
    month_succeeded=5,
    month_failed=3,
    concurrent=1,
)


@pytest.mark.parametrize(
    ("limits", "used", "error"),
    [
        (LIMITS, usage(), None),
        (LIMITS, usage(day_used=5, month_used=99, concurrent=19), None),
        (LIMITS, usage(day_used=6), DailyLimitReachedError(6)),
        (LIMITS, usage(day_used=7), DailyLimitReachedError(6)),
        (LIMITS, usage(month_used=100), MonthlyLimitReachedError(100)),
        (LIMITS, usage(concurrent=20), ConcurrentLimitReachedError(20)),
        # waiting helps with the last one alone
        (LIMITS, usage(day_used=6, month_used=100, concurrent=20), DailyLimitReachedError(6)),
        (LIMITS, usage(month_used=100, concurrent=20), MonthlyLimitReachedError(100)),
        # a limit was lowered
        (replace(LIMITS, concurrent=3), usage(concurrent=5), ConcurrentLimitReachedError(3)),
        (replace(LIMITS, per_day=0), usage(), DailyLimitReachedError(0)),
        # one that nobody set allows none
        (replace(LIMITS, per_day=None), usage(), DailyLimitReachedError(None)),
        (replace(LIMITS, per_month=None), usage(), MonthlyLimitReachedError(None)),
        (replace(LIMITS, concurrent=None), usage(), ConcurrentLimitReachedError(None)),
    ],
)
def test_the_limit_that_refuses_a_run(limits: Limits, used: Usage, error: QuotaExceededError | None) -> None:
    found = exceeded(limits, used)
    assert (type(found), str(found)) == (type(error), str(error))


@pytest.mark.parametrize(
    ("error", "reason", "words", "title"),
    [
        (
            DailyLimitReachedError(6),
            "DailyLimitReached",
            "Daily pipeline limit (6) reached",
            "Daily pipeline limit reached",
        ),
        (
            MonthlyLimitReachedError(100),
            "MonthlyLimitReached",
            "Monthly pipeline limit (100) reached",
            "Monthly pipeline limit reached",
        ),
        (
            ConcurrentLimitReachedError(20),
            "ConcurrentLimitReached",
            "Concurrent pipeline limit (20) reached",
            "Concurrent pipeline limit reached",
        ),
        (
            DailyLimitReachedError(None),
            "DailyLimitReached",
            "Daily pipeline limit (not set) reached",
            "Daily pipeline limit reached",
        ),
    ],
)
def test_the_words_of_a_refusal(error: QuotaExceededError, reason: str, words: str, title: str) -> None:
    assert (error.reason, str(error), error.title) == (reason, words, title)


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (DAY, FULL),
        (date(2026, 11, 21), FULL),  # a day never begins again: a clock that is behind, a zone further west
        (
            date(2026, 11, 23),
            Usage(day=date(2026, 11, 23), month=MONTH, month_used=9, month_succeeded=5, month_failed=3, concurrent=1),
        ),
        (date(2026, 12, 1), Usage(day=date(2026, 12, 1), month=date(2026, 12, 1), concurrent=1)),
        # the same month of another year is another month
        (date(2027, 11, 22), Usage(day=date(2027, 11, 22), month=date(2027, 11, 1), concurrent=1)),
        (date(2025, 1, 1), FULL),
    ],
)
def test_what_is_used_as_of_a_day(today: date, expected: Usage) -> None:
    assert FULL.on(today) == expected


@pytest.mark.parametrize("status", ["ACTIVE", "TRIAL", "active", "Trial"])
def test_who_may_run(status: str) -> None:
    check_subscription("acme", is_known=True, status=status)


@pytest.mark.parametrize(
    ("is_known", "status", "error", "words"),
    [
        (False, None, OrganizationNotFoundError, "Organization not found: acme"),
        (False, "ACTIVE", OrganizationNotFoundError, "Organization not found: acme"),
        (True, None, SubscriptionInactiveError, "Organization acme has no subscription"),
        (True, "SUSPENDED", SubscriptionInactiveError, "Pipeline execution not allowed for SUSPENDED organizations"),
        (True, "cancelled", SubscriptionInactiveError, "Pipeline execution not allowed for CANCELLED organizations"),
        (True, "", SubscriptionInactiveError, "Pipeline execution not allowed for  organizations"),
    ],
)
def test_who_may_not(is_known: bool, status: str | None, error: type[PipelinesError], words: str) -> None:
    with pytest.raises(error) as refused:
        check_subscription("acme", is_known=is_known, status=status)
    assert str(refused.value) == words
    if status:
        assert not is_known or refused.value.title == f"Organization subscription is {status.upper()}"
