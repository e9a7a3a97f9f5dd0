"""What a processor of its own rows reads from its resolved config: the names of its tables, and their checks."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from pipeline_core.catalog.checks import ChecksSection, TableChecks
from pipeline_core.wording import shorten
from pipeline_runner.bigquery.checks import check_columns
from pipeline_runner.bigquery.rows import RowTable
from pipeline_runner.config_errors import wrong_fields
from pipeline_runner.errors import ConfigError


def target_table(config: Mapping[str, Any], key: str | None = None) -> str:
    """The name of the table that `target.table` of a resolved config gives, or with a key `target.tables.<key>`.

    Raises ConfigError where there is none.
    """
    target = config.get("target") or {}
    field, found = "target.table", target.get("table")
    if key is not None:
        field, found = f"target.tables.{key}", (target.get("tables") or {}).get(key)
    if not isinstance(found, str) or not found:
        raise ConfigError(f"{field}: expected the name of a table, got {shorten(found)}")
    return found


def table_checks(config: Mapping[str, Any], tables: Mapping[str, RowTable]) -> dict[str, TableChecks]:
    """The checks of each table, by its key: those of `target.table` stand at the top of the section.

    Raises ConfigError naming the fields that are wrong, and columns that a table hasn't.
    """
    main = target_table(config)
    try:
        checks = ChecksSection.model_validate(config.get("checks") or {})
    except ValidationError as error:
        raise wrong_fields(error, ChecksSection, "checks") from None
    found = {}
    for key, table in tables.items():
        is_main = table.name == main
        found[key] = checks.of(None if is_main else key)
        check_columns(found[key], table.columns, ("checks",) if is_main else ("checks", "tables", key))
    return found
