"""Each of the rules that the cost view is checked by finds a row that breaks it."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from support.focus_rules import RULES, ambiguous_services, broken

GOOD: dict[str, Any] = {
    "BilledCost": Decimal("6.5"),
    "BillingAccountId": "A-1",
    "BillingAccountName": None,
    "BillingCurrency": "USD",
    "BillingPeriodEnd": datetime(2026, 12, 1, tzinfo=UTC),
    "BillingPeriodStart": datetime(2026, 11, 1, tzinfo=UTC),
    "ChargeCategory": "Usage",
    "ChargeClass": None,
    "ChargeDescription": "gpt-5, output",
    "ChargePeriodEnd": datetime(2026, 11, 3, tzinfo=UTC),
    "ChargePeriodStart": datetime(2026, 11, 2, tzinfo=UTC),
    "ContractedCost": Decimal("6.5"),
    "EffectiveCost": Decimal("6.5"),
    "HostProviderName": "Elastic",
    "InvoiceIssuerName": "Elastic",
    "ListCost": Decimal(7),
    "PricingQuantity": Decimal(1),
    "PricingUnit": "Units",
    "ServiceCategory": "Other",
    "ServiceName": "Search",
    "ServiceProviderName": "Elastic",
    "x_Provider": "gcp",
}
GOOGLE = {
    "InvoiceIssuerName": "Google Cloud",
    "BillingPeriodStart": datetime(2026, 11, 1, 7, tzinfo=UTC),
    "BillingPeriodEnd": datetime(2026, 12, 1, 8, tzinfo=UTC),
}
NOT_NULL = [rule.asks.removesuffix(" isn't null") for rule in RULES if rule.asks.endswith(" isn't null")]
CASES = [
    ({"BillingCurrency": "usd"}, "BillingCurrency is a code of ISO 4217"),
    ({"ChargeCategory": "usage"}, "ChargeCategory is of the list"),
    ({"ServiceCategory": "AI"}, "ServiceCategory is of the list"),
    ({"ChargeClass": "correction"}, "ChargeClass is Correction or null"),
    ({"ChargeClass": "Correction"}, "ChargeClass is null but for charges of a closed billing period"),
    ({"BillingPeriodEnd": datetime(2026, 11, 30, tzinfo=UTC)}, "the billing period is a month"),
    ({"BillingPeriodStart": datetime(2026, 11, 1, 7, tzinfo=UTC)}, "the billing period is a month"),
    ({"ChargePeriodEnd": GOOD["ChargePeriodStart"]}, "the charge period ends after it starts"),
    (
        {"ChargePeriodStart": datetime(2026, 12, 1, tzinfo=UTC), "ChargePeriodEnd": datetime(2026, 12, 2, tzinfo=UTC)},
        "the charge period starts before the billing period ends",
    ),
    ({"ChargeCategory": "Credit"}, "a credit costs the same by all measures"),
    ({"EffectiveCost": Decimal(6)}, "EffectiveCost is BilledCost where nothing is paid ahead"),
    ({"ChargeCategory": "Tax"}, "PricingQuantity is null for a tax"),
    ({"PricingQuantity": None, "PricingUnit": None}, "PricingQuantity isn't null for usage"),
    ({"PricingUnit": None}, "PricingUnit is null exactly where PricingQuantity is"),
    ({"HostProviderName": None}, "HostProviderName isn't null for usage"),
    ({"HostProviderName": "Else"}, "HostProviderName is the service provider's where no other is known"),
    ({"ServiceName": " "}, "ServiceName isn't blank"),
    ({"BilledCost": 6.5}, "BilledCost is of type NUMERIC"),
    ({"ChargePeriodEnd": datetime(2026, 11, 3, tzinfo=timezone(timedelta(hours=1)))}, "ChargePeriodEnd is in UTC"),
    *(({name: None}, f"{name} isn't null") for name in NOT_NULL),
]


def test_good_rows_break_none() -> None:
    assert broken(GOOD) == []
    assert broken(GOOD | GOOGLE) == []
    assert broken(GOOD | {"x_Provider": "anthropic", "PricingQuantity": None, "PricingUnit": None}) == []


@pytest.mark.parametrize(("change", "rule"), CASES, ids=lambda each: each if isinstance(each, str) else "")
def test_a_row_that_breaks_a_rule_is_found(change: dict[str, Any], rule: str) -> None:
    assert rule in broken(GOOD | change)


def test_every_rule_that_the_types_leave_open_has_its_case() -> None:
    general = ("is of type", "isn't blank", "is in UTC")
    assert {rule.asks for rule in RULES if not any(each in rule.asks for each in general)} <= {
        rule for _, rule in CASES
    }


def test_a_service_of_two_categories_is_found() -> None:
    assert ambiguous_services([GOOD, GOOD | {"ServiceCategory": "Web"}]) == {"Search": {"Other", "Web"}}
    assert ambiguous_services([GOOD, GOOD]) == {}
