"""How the cost view is made of the costs that OpenAI and Anthropic report."""

from typing import Final

from pipeline_core.focus import services
from pipeline_core.focus.columns import nothing
from pipeline_core.focus.kinds import AMOUNT, DATE, TEXT, TIME, Kinds
from pipeline_core.focus.sql import ROW, Row, text

KINDS: Final[Kinds] = {
    "usage_date": DATE,
    "bucket_start": TIME,
    "bucket_end": TIME,
    "amount": AMOUNT,
    "currency": TEXT,
    "quantity": AMOUNT,
    "line_item": TEXT,
    "project_id": TEXT,
    "description": TEXT,
    "cost_type": TEXT,
    "workspace_id": TEXT,
    "model": TEXT,
    "run_id": TEXT,
    "loaded_at": TIME,
}
REQUIRED: Final = ("usage_date", "bucket_start", "bucket_end", "amount", "currency")
# Of FOCUS's list of recommended units. Only the line item tells which kind of unit OpenAI has counted.
_UNITS: Final = text("Units")


def openai(columns: Row, org: str) -> dict[str, str]:
    """The expression of each column, for an organization's `openai_costs`."""
    counted = columns.has("quantity")
    return _values(columns, org, "OpenAI") | {
        "ChargeDescription": f"COALESCE({columns.first_of('line_item')}, {text('OpenAI API')})",
        "PricingQuantity": columns.money("quantity") if counted else nothing("PricingQuantity"),
        "PricingUnit": f"IF({ROW}.quantity IS NULL, NULL, {_UNITS})" if counted else nothing("PricingUnit"),
        "x_Provider": text("openai"),
        "x_ProjectId": columns.get("project_id"),
    }


def anthropic(columns: Row, org: str) -> dict[str, str]:
    """The expression of each column, for an organization's `anthropic_costs`, which have no quantities."""
    return _values(columns, org, "Anthropic") | {
        "ChargeDescription": f"COALESCE({columns.first_of('description', 'cost_type')}, {text('Anthropic API')})",
        "x_Provider": text("anthropic"),
        "x_ProjectId": columns.get("workspace_id"),
        "x_Model": columns.get("model"),
        "x_CostType": columns.get("cost_type"),
    }


def _values(columns: Row, org: str, provider: str) -> dict[str, str]:
    """What the two have in common. Both bill by calendar months in UTC, and give no discounts that they report."""
    amount = columns.money("amount")
    return {
        "BilledCost": amount,
        # The reports don't name the account; each organization has one with either provider.
        "BillingAccountId": text(org),
        "BillingAccountName": nothing("BillingAccountName"),
        "BillingCurrency": f"UPPER({ROW}.currency)",
        "BillingPeriodEnd": f"TIMESTAMP(DATE_ADD(DATE_TRUNC({ROW}.usage_date, MONTH), INTERVAL 1 MONTH))",
        "BillingPeriodStart": f"TIMESTAMP(DATE_TRUNC({ROW}.usage_date, MONTH))",
        "ChargeCategory": f"IF({amount} < 0, 'Credit', 'Usage')",
        "ChargeClass": nothing("ChargeClass"),
        "ChargePeriodEnd": f"{ROW}.bucket_end",
        "ChargePeriodStart": f"{ROW}.bucket_start",
        "ContractedCost": amount,
        "EffectiveCost": amount,
        "HostProviderName": text(provider),
        "InvoiceIssuerName": text(provider),
        "ListCost": amount,
        "PricingQuantity": nothing("PricingQuantity"),
        "PricingUnit": nothing("PricingUnit"),
        "ServiceCategory": text(services.AI),
        "ServiceName": text(f"{provider} API"),
        "ServiceProviderName": text(provider),
        "x_UsageDate": f"{ROW}.usage_date",
        "x_ProjectName": nothing("x_ProjectName"),
        "x_Model": nothing("x_Model"),
        "x_CostType": nothing("x_CostType"),
        "x_CreditAmount": nothing("x_CreditAmount"),
        "x_RunId": columns.get("run_id"),
        "x_LoadedAt": columns.get("loaded_at", "TIMESTAMP"),
    }
