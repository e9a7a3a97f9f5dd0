"""The cost view's SQL, from the provider tables that an organization's dataset has."""

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final

from pipeline_core.focus import ai_apis, google_cloud
from pipeline_core.focus.sql import Row, select

VIEW: Final = "costs_focus"
GCP_STANDARD: Final = "gcp_billing_costs"
GCP_DETAILED: Final = "gcp_detailed_billing_costs"
OPENAI: Final = "openai_costs"
ANTHROPIC: Final = "anthropic_costs"
TABLES: Final = (GCP_STANDARD, GCP_DETAILED, OPENAI, ANTHROPIC)
"""The tables that the view may be over, all in one dataset."""

_REQUIRED: Final = {
    GCP_STANDARD: google_cloud.REQUIRED,
    GCP_DETAILED: google_cloud.REQUIRED,
    OPENAI: ai_apis.REQUIRED,
    ANTHROPIC: ai_apis.REQUIRED,
}

Columns = Collection[str]


def lacking(table: str, columns: Columns) -> list[str]:
    """The columns that one of TABLES must have for the view, and doesn't."""
    return [name for name in _REQUIRED[table] if name not in columns]


def focus_view(project: str, dataset: str, tables: Mapping[str, Columns]) -> str | None:
    """The view's SELECT over those of TABLES that are there; None where none is.

    `tables` gives the columns of each by dotted names: `cost`, `invoice`, `invoice.month`. A table that lacks a column
    that nothing can stand in for is left out. Of Google's two exports only one is taken, the standard one where there
    are both: each holds all costs.
    """
    org = dataset.rpartition("_")[0]
    parts = [select(values, f"{project}.{dataset}.{table}") for table, values in _parts(org, tables)]
    if not parts:
        return None
    return "\nUNION ALL\n".join(parts)


def digest(statement: str) -> str:
    """Sixteen hexadecimal digits by which to know a definition again; they fit into a label."""
    return hashlib.sha256(statement.encode()).hexdigest()[:16]


def _parts(org: str, tables: Mapping[str, Columns]) -> Iterator[tuple[str, dict[str, str]]]:
    google = next((name for name in (GCP_STANDARD, GCP_DETAILED) if _usable(name, tables)), None)
    if google is not None:
        yield google, google_cloud.values(Row(tables[google]))
    makers: dict[str, Callable[[Row, str], dict[str, str]]] = {OPENAI: ai_apis.openai, ANTHROPIC: ai_apis.anthropic}
    for name, values in makers.items():
        if _usable(name, tables):
            yield name, values(Row(tables[name]), org)


def _usable(table: str, tables: Mapping[str, Columns]) -> bool:
    return table in tables and not lacking(table, tables[table])
