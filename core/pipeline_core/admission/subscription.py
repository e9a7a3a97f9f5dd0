"""An organization's subscription, and the limits of its plan, as the admission of a run asks for them."""

from dataclasses import dataclass

from pipeline_core.errors import PipelinesError

ALLOWED_STATUSES = frozenset({"ACTIVE", "TRIAL"})


class OrganizationNotFoundError(PipelinesError):
    """Nobody has made this organization here."""

    reason = "OrganizationNotFound"

    def __init__(self, org_slug: str) -> None:
        super().__init__(f"Organization not found: {org_slug}")


class SubscriptionInactiveError(PipelinesError):
    """The organization's subscription doesn't allow runs, or there is none."""

    reason = "SubscriptionInactive"

    def __init__(self, org_slug: str, status: str | None) -> None:
        if status is None:
            super().__init__(f"Organization {org_slug} has no subscription")
            return
        super().__init__(
            f"Pipeline execution not allowed for {status} organizations",
            title=f"Organization subscription is {status}",
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """How many runs a plan allows in a day, in a month, and at a time; None, which nobody set, allows none."""

    per_day: int | None
    per_month: int | None
    concurrent: int | None


@dataclass(frozen=True, slots=True)
class Subscription:
    """An organization's plan, as the table of subscriptions has it."""

    org_slug: str
    status: str
    limits: Limits
    plan: str | None = None


def check_subscription(org_slug: str, *, is_known: bool, status: str | None) -> None:
    """Refuse an organization that may not run anything.

    Raises OrganizationNotFoundError, SubscriptionInactiveError.
    """
    if not is_known:
        raise OrganizationNotFoundError(org_slug)
    if status is None or status.upper() not in ALLOWED_STATUSES:
        raise SubscriptionInactiveError(org_slug, None if status is None else status.upper())
