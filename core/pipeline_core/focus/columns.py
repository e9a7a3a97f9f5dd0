"""The columns of the cost view: FOCUS 1.4's mandatory ones of Cost and Usage, then ours, which begin with x_."""

from typing import Final

MANDATORY: Final = {
    "BilledCost": "NUMERIC",
    "BillingAccountId": "STRING",
    "BillingAccountName": "STRING",
    "BillingCurrency": "STRING",
    "BillingPeriodEnd": "TIMESTAMP",
    "BillingPeriodStart": "TIMESTAMP",
    "ChargeCategory": "STRING",
    "ChargeClass": "STRING",
    "ChargeDescription": "STRING",
    "ChargePeriodEnd": "TIMESTAMP",
    "ChargePeriodStart": "TIMESTAMP",
    "ContractedCost": "NUMERIC",
    "EffectiveCost": "NUMERIC",
    "HostProviderName": "STRING",
    "InvoiceIssuerName": "STRING",
    "ListCost": "NUMERIC",
    "PricingQuantity": "NUMERIC",
    "PricingUnit": "STRING",
    "ServiceCategory": "STRING",
    "ServiceName": "STRING",
    "ServiceProviderName": "STRING",
}
"""Names in the order of the specification, with BigQuery's types. Decimal is NUMERIC, Date/Time is TIMESTAMP."""

OWN: Final = {
    "x_Provider": "STRING",
    "x_UsageDate": "DATE",
    "x_ProjectId": "STRING",
    "x_ProjectName": "STRING",
    "x_Model": "STRING",
    "x_CostType": "STRING",
    "x_CreditAmount": "NUMERIC",
    "x_RunId": "STRING",
    "x_LoadedAt": "TIMESTAMP",
}

COLUMNS: Final = MANDATORY | OWN

MARK: Final = frozenset({"x_Provider", "x_RunId", "x_LoadedAt"})
"""A view of the cost view's name that has these columns is ours, of whatever version; any other is somebody else's."""


def nothing(column: str) -> str:
    """NULL of the column's type: the first SELECT of a UNION decides the types of all."""
    return f"CAST(NULL AS {COLUMNS[column]})"
