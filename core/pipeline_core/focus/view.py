"""The cost view's SQL, from the provider tables that an organization's dataset has."""

import hashlib
from collections.abc import Mapping
from typing import Final

from pipeline_core.focus import ai_apis, google_cloud
from pipeline_core.focus.kinds import Columns, Kinds, unfit, usable
from pipeline_core.focus.sql import Row, select

VIEW: Final = "costs_focus"
GCP_STANDARD: Final = "gcp_billing_costs"
GCP_DETAILED: Final = "gcp_detailed_billing_costs"
OPENAI: Final = "openai_costs"
ANTHROPIC: Final = "anthropic_costs"
TABLES: Final = (GCP_STANDARD, GCP_DETAILED, OPENAI, ANTHROPIC)
"""The tables that the view may be over, all in one dataset."""

_KINDS: Final[dict[str, tuple[Kinds, tuple[str, ...]]]] = {
    GCP_STANDARD: (google_cloud.KINDS, google_cloud.REQUIRED),
    GCP_DETAILED: (google_cloud.KINDS, google_cloud.REQUIRED),
    OPENAI: (ai_apis.KINDS, ai_apis.REQUIRED),
    ANTHROPIC: (ai_apis.KINDS, ai_apis.REQUIRED),
}


def obstacles(table: str, columns: Columns) -> list[str]:
    """Why one of TABLES can't be in the view, a line for each column; empty where it can."""
    return unfit(columns, *_KINDS[table])


def focus_view(project: str, dataset: str, tables: Mapping[str, Columns]) -> str | None:
    """The view's SELECT over those of TABLES that are there; None where none is.

    `tables` gives the columns of each, by paths. A table that lacks a column that nothing can stand in for, or has it
    with a type that can't be used, is left out. Google's two exports hold the same costs, so only one is taken for each
    day of a billing account: the standard one where it has rows, else the detailed one.
    """
    org = dataset.rpartition("_")[0]
    there = [name for name in TABLES if name in tables and not obstacles(name, tables[name])]
    parts = []
    for name in there:
        columns = Row(usable(tables[name], _KINDS[name][0]))
        is_second = name == GCP_DETAILED and GCP_STANDARD in there
        rest = google_cloud.without_days_of(f"{project}.{dataset}.{GCP_STANDARD}") if is_second else ""
        parts.append(select(_values(name, columns, org), f"{project}.{dataset}.{name}", rest))
    if not parts:
        return None
    return "\nUNION ALL\n".join(parts)


def digest(statement: str) -> str:
    """Sixteen hexadecimal digits by which to know a definition again; they fit into a label."""
    return hashlib.sha256(statement.encode()).hexdigest()[:16]


def _values(table: str, columns: Row, org: str) -> dict[str, str]:
    if table == OPENAI:
        return ai_apis.openai(columns, org)
    if table == ANTHROPIC:
        return ai_apis.anthropic(columns, org)
    return google_cloud.values(columns)
