"""FOCUS 1.4's rules for the mandatory columns of Cost and Usage, as checks of one row each.

The specification's text is the source: FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, specification/datasets/
cost_and_usage/columns/<column>.md and specification/attributes/<attribute>.md. `source` names the file, and the rule's
number in the machine-readable requirements model (1.2.0.1, the last that was published with focus-validator) where it
has one. Rules that need what the view can't know (the invoice, the price list, the display name of an account) are
listed at the end, with the reason.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

Row = Mapping[str, Any]

CHARGE_CATEGORIES = ("Usage", "Purchase", "Tax", "Credit", "Adjustment")
SERVICE_CATEGORIES = (
    "AI and Machine Learning", "Analytics", "Business Applications", "Compute", "Databases", "Developer Tools",
    "Multicloud", "Identity", "Integration", "Internet of Things", "Management and Governance", "Media", "Migration",
    "Mobile", "Networking", "Security", "Storage", "Web", "Other",
)  # fmt: skip
# Data type and whether NULL is allowed, of the table "Content Constraints" of each column's page.
COLUMNS = {
    "BilledCost": ("NUMERIC", False),
    "BillingAccountId": ("STRING", False),
    "BillingAccountName": ("STRING", True),
    "BillingCurrency": ("STRING", False),
    "BillingPeriodEnd": ("TIMESTAMP", False),
    "BillingPeriodStart": ("TIMESTAMP", False),
    "ChargeCategory": ("STRING", False),
    "ChargeClass": ("STRING", True),
    "ChargeDescription": ("STRING", True),
    "ChargePeriodEnd": ("TIMESTAMP", False),
    "ChargePeriodStart": ("TIMESTAMP", False),
    "ContractedCost": ("NUMERIC", False),
    "EffectiveCost": ("NUMERIC", False),
    "HostProviderName": ("STRING", True),
    "InvoiceIssuerName": ("STRING", False),
    "ListCost": ("NUMERIC", False),
    "PricingQuantity": ("NUMERIC", True),
    "PricingUnit": ("STRING", True),
    "ServiceCategory": ("STRING", False),
    "ServiceName": ("STRING", False),
    "ServiceProviderName": ("STRING", False),
}
_PYTHON = {"NUMERIC": Decimal, "STRING": str, "TIMESTAMP": datetime}


@dataclass(frozen=True)
class Rule:
    """One rule: what it asks, where it stands, and whether a row keeps it."""

    asks: str
    source: str
    holds: Callable[[Row], bool]


def _rules() -> Iterator[Rule]:
    for name, (type_, may_be_null) in COLUMNS.items():
        page = f"columns/{name.lower()}.md"
        yield Rule(f"{name} is of type {type_}", f"{page}, Data type", _typed(name, _PYTHON[type_]))
        if not may_be_null:
            yield Rule(f"{name} isn't null", f"{page}, Allows nulls", lambda row, name=name: row[name] is not None)
        if type_ == "STRING":
            yield Rule(
                f"{name} isn't blank",
                "attributes/nullhandling.md",
                lambda row, name=name: row[name] is None or bool(row[name].strip()),
            )
        if type_ == "TIMESTAMP":
            yield Rule(
                f"{name} is in UTC",
                "attributes/datetimeformat.md",
                lambda row, name=name: row[name].utcoffset() == timedelta(0),
            )
    yield from _OTHERS


def _typed(name: str, type_: type) -> Callable[[Row], bool]:
    return lambda row: row[name] is None or isinstance(row[name], type_)


def _is_month_in(row: Row) -> bool:
    """From one midnight on the first of a month to the next, in a zone of whole hours west of UTC, or in UTC."""
    start, end = row["BillingPeriodStart"], row["BillingPeriodEnd"]
    first, last = start.replace(hour=0), end.replace(hour=0)
    following = (first + timedelta(days=32)).replace(day=1)
    return bool(
        first.day == 1 and last == following and (start.minute, start.second, start.microsecond) == (0, 0, 0)
        and start.hour in _midnights(row) and end.hour in _midnights(row)
    )  # fmt: skip


def _midnights(row: Row) -> tuple[int, ...]:
    # Google's months of invoice are those of the Pacific time zone, in winter and in summer
    return (8, 7) if row["InvoiceIssuerName"] == "Google Cloud" else (0,)


def _as_billed(*categories: str) -> Callable[[Row], bool]:
    """ListCost and ContractedCost equal BilledCost in these categories."""
    return lambda row: (
        row["ChargeCategory"] not in categories
        or (row["ListCost"] == row["ContractedCost"] == row["EffectiveCost"] == row["BilledCost"])
    )


def _quantity_is_given(row: Row) -> bool:
    """Anthropic's cost report has no quantities, and OpenAI's may lack one: NULL, rather than an invention."""
    if row["ChargeCategory"] not in ("Usage", "Purchase") or row["ChargeClass"] == "Correction":
        return True
    return row["PricingQuantity"] is not None or row["x_Provider"] in QUANTITY_UNKNOWN


QUANTITY_UNKNOWN = ("openai", "anthropic")
"""The providers whose reports don't give the quantity of each charge."""

_OTHERS = (
    Rule("BillingCurrency is a code of ISO 4217", "attributes/currencyformat.md; BillingCurrency-C-003-M",
         lambda row: re.fullmatch("[A-Z]{3}", row["BillingCurrency"]) is not None),
    Rule("ChargeCategory is of the list", "columns/chargecategory.md; ChargeCategory-C-003-M",
         lambda row: row["ChargeCategory"] in CHARGE_CATEGORIES),
    Rule("ServiceCategory is of the list", "columns/servicecategory.md; ServiceCategory-C-003-M",
         lambda row: row["ServiceCategory"] in SERVICE_CATEGORIES),
    Rule("ChargeClass is Correction or null", "columns/chargeclass.md; ChargeClass-C-005-C",
         lambda row: row["ChargeClass"] in (None, "Correction")),
    Rule("ChargeClass is null but for charges of a closed billing period", "columns/chargeclass.md",
         lambda row: row["ChargeClass"] is None or row["ChargePeriodStart"] < row["BillingPeriodStart"]),
    Rule("the billing period is a month", "columns/billingperiodend.md; BillingPeriodEnd-C-004-M",
         _is_month_in),
    Rule("the charge period ends after it starts", "columns/chargeperiodend.md; ChargePeriodEnd-C-004-M",
         lambda row: row["ChargePeriodStart"] < row["ChargePeriodEnd"]),
    Rule("the charge period starts before the billing period ends", "columns/chargeperiodstart.md",
         lambda row: row["ChargePeriodStart"] < row["BillingPeriodEnd"]),
    Rule("a credit costs the same by all measures", "columns/listcost.md; ListCost-C-008-C, ContractedCost-C-008-C",
         _as_billed("Credit")),
    Rule("EffectiveCost is BilledCost where nothing is paid ahead", "columns/effectivecost.md; EffectiveCost-C-010-C",
         lambda row: row["EffectiveCost"] == row["BilledCost"]),
    Rule("PricingQuantity is null for a tax", "columns/pricingquantity.md; PricingQuantity-C-004-C",
         lambda row: row["ChargeCategory"] != "Tax" or row["PricingQuantity"] is None),
    Rule("PricingQuantity isn't null for usage", "columns/pricingquantity.md; PricingQuantity-C-005-C",
         _quantity_is_given),
    Rule("PricingUnit is null exactly where PricingQuantity is", "columns/pricingunit.md; PricingUnit-C-005-C, -006-C",
         lambda row: (row["PricingUnit"] is None) == (row["PricingQuantity"] is None)),
    Rule("HostProviderName isn't null for usage", "columns/hostprovidername.md (1.3)",
         lambda row: row["ChargeCategory"] != "Usage" or row["HostProviderName"] is not None),
    Rule("HostProviderName is the service provider's where no other is known", "columns/hostprovidername.md (1.3)",
         lambda row: row["HostProviderName"] in (None, row["ServiceProviderName"], row["InvoiceIssuerName"])),
)  # fmt: skip

RULES = tuple(_rules())

NOT_CHECKED = {
    "BilledCost-C-007-M": "the sum of an invoice: the reports of usage don't have the invoices",
    "BillingAccountName-C-003-C": "the name of the account: none of the three reports has it",
    "BillingAccountId-C-004-M": "unique with an issuer: OpenAI's and Anthropic's reports don't name the account",
    "ContractedCost-C-009-C": "the product of unit price and quantity: the view has no unit prices",
    "ListCost-C-009-C": "the product of unit price and quantity: the view has no unit prices",
    "PricingUnit-C-008-M": "the unit of the price list: the reports' own words are kept",
    "PricingUnit-C-003-O": "FOCUS's words for units are a recommendation: Google's own words are kept",
}
"""Rules that nothing in the rows can show, by their numbers in the model."""


def broken(row: Row) -> list[str]:
    """The rules that a row breaks; further ones aren't asked once a column is of a wrong type or null."""
    basic = [rule.asks for rule in RULES[: -len(_OTHERS)] if not _held(rule, row)]
    return basic or [rule.asks for rule in _OTHERS if not _held(rule, row)]


def _held(rule: Rule, row: Row) -> bool:
    try:
        return rule.holds(row)
    except (TypeError, AttributeError):
        return False


def ambiguous_services(rows: Iterable[Row]) -> dict[str, set[str]]:
    """Services with more than one category (columns/servicename.md; ServiceName-C-005-C)."""
    categories: dict[str, set[str]] = {}
    for row in rows:
        categories.setdefault(row["ServiceName"], set()).add(row["ServiceCategory"])
    return {name: found for name, found in categories.items() if len(found) > 1}
