"""How the cost view is made of a Google Cloud billing export, standard or detailed.

It follows the view that Google has published for FOCUS: a row's credits lower its own BilledCost and EffectiveCost,
ContractedCost is the cost before them, and corrections, taxes and rounding are told apart by `cost_type`. Where that
view is at odds with FOCUS (words of the closed lists, the end of the billing period, the quantity that was priced),
FOCUS is followed; docs/focus.md names each such place.
"""

from typing import Final

from pipeline_core.focus import services
from pipeline_core.focus.columns import nothing
from pipeline_core.focus.kinds import AMOUNT, TEXT, TIME, Kinds
from pipeline_core.focus.sql import ROW, Row, filled, text

KINDS: Final[Kinds] = {
    "billing_account_id": TEXT,
    "usage_start_time": TIME,
    "usage_end_time": TIME,
    "cost": AMOUNT,
    "currency": TEXT,
    "cost_at_list": AMOUNT,
    "cost_type": TEXT,
    "credits[].amount": AMOUNT,
    "invoice.month": TEXT,
    "adjustment_info.id": TEXT,
    "adjustment_info.type": TEXT,
    "adjustment_info.description": TEXT,
    "service.id": TEXT,
    "service.description": TEXT,
    "sku.description": TEXT,
    "project.id": TEXT,
    "project.name": TEXT,
    "usage.amount_in_pricing_units": AMOUNT,
    "usage.pricing_unit": TEXT,
    "seller_name": TEXT,
    "transaction_type": TEXT,
    "run_id": TEXT,
    "loaded_at": TIME,
}
REQUIRED: Final = ("billing_account_id", "usage_start_time", "usage_end_time", "cost", "currency")
"""Without one of these a table is no billing export; whatever else is missing is NULL or has a stand-in of FOCUS."""

NAME: Final = text("Google Cloud")
# Google's months of invoice begin and end at midnight there.
_ZONE: Final = text("America/Los_Angeles")
_CATEGORIES: Final = "CASE {} WHEN 'regular' THEN 'Usage' WHEN 'tax' THEN 'Tax' ELSE 'Adjustment' END"


def without_days_of(other: str) -> str:
    """The end of a SELECT: without the days of billing accounts that another export (project.dataset.table) has.

    A join with a row for each day and account, so that no row is multiplied. Of the other export only these two columns
    are read.
    """
    account, day = f"IFNULL({ROW}.billing_account_id, '')", f"DATE({ROW}.usage_start_time)"
    return (
        f"\nLEFT JOIN (SELECT DISTINCT {account} AS account, {day} AS day FROM `{other}` AS {ROW}) AS other"  # noqa: S608
        f"\nON other.account = {account} AND other.day = {day}"
        "\nWHERE other.day IS NULL"
    )


def values(columns: Row) -> dict[str, str]:
    """The expression of each column of the view."""
    month = _month(columns)
    cost, credit = f"IFNULL({columns.money('cost')}, 0)", _credits(columns)
    billed = cost if credit is None else f"{cost} + {credit}"
    quantity, unit = _quantity(columns)
    return {
        "BilledCost": billed,
        "BillingAccountId": f"{ROW}.billing_account_id",
        "BillingAccountName": nothing("BillingAccountName"),
        "BillingCurrency": f"UPPER({ROW}.currency)",
        "BillingPeriodEnd": f"TIMESTAMP(DATE_ADD({month}, INTERVAL 1 MONTH), {_ZONE})",
        "BillingPeriodStart": f"TIMESTAMP({month}, {_ZONE})",
        "ChargeCategory": _CATEGORIES.format(_cost_type(columns)),
        "ChargeClass": _charge_class(columns, month),
        "ChargeDescription": columns.first_of("sku.description", "adjustment_info.description", "service.description"),
        "ChargePeriodEnd": f"{ROW}.usage_end_time",
        "ChargePeriodStart": f"{ROW}.usage_start_time",
        "ContractedCost": cost,
        "EffectiveCost": billed,
        "HostProviderName": NAME,
        "InvoiceIssuerName": NAME,
        "ListCost": _list_cost(columns, cost),
        "PricingQuantity": quantity,
        "PricingUnit": unit,
        "ServiceCategory": _category(columns),
        "ServiceName": f"COALESCE({columns.first_of('service.description', 'service.id')}, {NAME})",
        "ServiceProviderName": _seller(columns),
        "x_Provider": text("gcp"),
        "x_UsageDate": f"DATE({ROW}.usage_start_time)",
        "x_ProjectId": columns.get("project.id"),
        "x_ProjectName": columns.get("project.name"),
        "x_Model": nothing("x_Model"),
        "x_CostType": columns.get("cost_type"),
        "x_CreditAmount": credit or nothing("x_CreditAmount"),
        "x_RunId": columns.get("run_id"),
        "x_LoadedAt": columns.get("loaded_at", "TIMESTAMP"),
    }


def _credits(columns: Row) -> str | None:
    """The sum of a row's credits, negative as Google writes them, 0 without any. A join would multiply the cost."""
    if not columns.has("credits[].amount"):
        return None
    amount = columns.money("credits[].amount", "c.amount")
    return f"IFNULL((SELECT SUM({amount}) FROM UNNEST({ROW}.credits) AS c), 0)"  # noqa: S608 - no name from outside


def _list_cost(columns: Row, cost: str) -> str:
    """What a row would have cost at list prices; what it did cost where no list has a price for it.

    Google writes 0 for adjustments and the like. Their list cost isn't that of nothing.
    """
    if not columns.has("cost_at_list"):
        return cost
    listed = columns.money("cost_at_list")
    return f"COALESCE(IF({_cost_type(columns)} = 'regular', {listed}, NULLIF({listed}, 0)), {cost})"


def _quantity(columns: Row) -> tuple[str, str]:
    """PricingQuantity and PricingUnit: both or none, and none for what isn't usage."""
    amount, unit = "usage.amount_in_pricing_units", "usage.pricing_unit"
    if not (columns.has(amount) and columns.has(unit)):
        return nothing("PricingQuantity"), nothing("PricingUnit")
    number = columns.money(amount)
    regular = f"{_cost_type(columns)} = 'regular'"
    return (
        f"IF({regular} AND {ROW}.{unit} IS NOT NULL, {number}, NULL)",
        f"IF({regular} AND {number} IS NOT NULL, {ROW}.{unit}, NULL)",
    )


def _cost_type(columns: Row) -> str:
    """Exports of before 2019 have no cost_type: all they hold is regular."""
    return f"IFNULL({ROW}.cost_type, 'regular')" if columns.has("cost_type") else text("regular")


def _used_in() -> str:
    """The first day of the month in which a row's usage began."""
    return f"DATE_TRUNC(DATE({ROW}.usage_start_time, {_ZONE}), MONTH)"


def _month(columns: Row) -> str:
    """The first day of the invoice's month; of the usage's where no invoice is named."""
    if not columns.has("invoice.month"):
        return _used_in()
    return f"COALESCE(SAFE.PARSE_DATE('%Y%m', {ROW}.invoice.month), {_used_in()})"


def _charge_class(columns: Row, month: str) -> str:
    """`Correction` is for what was used in a month before the invoice's: that month's books are closed."""
    adjusted = [
        f"{ROW}.{name} IS NOT NULL" for name in ("adjustment_info.id", "adjustment_info.type") if columns.has(name)
    ]
    if columns.has("cost_type"):
        adjusted.append(f"{_cost_type(columns)} = 'adjustment'")
    if not adjusted or not columns.has("invoice.month"):
        return nothing("ChargeClass")
    return f"IF(({' OR '.join(adjusted)}) AND {_used_in()} < {month}, 'Correction', NULL)"


def _category(columns: Row) -> str:
    if not columns.has("service.description"):
        return text(services.OTHER)
    cases = "".join(
        f"\n    WHEN {ROW}.service.description IN ({', '.join(map(text, names))}) THEN {text(category)}"
        for category, names in services.GOOGLE_CLOUD.items()
    )
    return f"CASE{cases}\n    ELSE {text(services.OTHER)}\n  END"


def _seller(columns: Row) -> str:
    """Whoever provides what was bought: the seller, where it came through Google's marketplace."""
    if not (columns.has("transaction_type") and columns.has("seller_name")):
        return NAME
    seller = f"COALESCE({filled(f'{ROW}.seller_name')}, {NAME})"
    return f"IF(IFNULL({ROW}.transaction_type, 'GOOGLE') = 'GOOGLE', {NAME}, {seller})"
