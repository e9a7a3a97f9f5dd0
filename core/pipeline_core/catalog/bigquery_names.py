"""The names of BigQuery projects, datasets and tables in a config.

They end up in SQL and in addresses, and a part of them comes from organizations' settings, so they are checked twice:
as written in the config, and again once templates are resolved.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_core.templates import split_template
from pipeline_core.wording import FieldPath, dotted, shorten

# Projects may carry a domain, as in example.com:billing. Of tables' names, BigQuery allows more than this: letters of
# every script, and spaces.
_PATTERNS = {
    "project": re.compile(r"[a-z0-9][a-z0-9.:-]{0,127}"),
    "dataset": re.compile(r"[A-Za-z0-9_]{1,1024}"),
    "table": re.compile(r"[A-Za-z0-9_-]{1,1024}"),
}
_EXPECTED = {
    "project": "lower-case letters, digits, and - . :",
    "dataset": "letters, digits and _",
    "table": "letters, digits, - and _",
}


def bad_names(config: Mapping[str, Any], *, resolved: bool) -> Iterator[tuple[FieldPath, str]]:
    """Each name of a config's source and target that BigQuery would refuse, and each table that is to be written twice:
    its path, and what is wrong with it.

    Unless the config is `resolved`, a well-formed template counts as a letter.
    """
    for path, field, name in _names(config):
        if not isinstance(name, str) or not _PATTERNS[field].fullmatch(name if resolved else _without_templates(name)):
            yield path, f"{shorten(name)} isn't the name of a BigQuery {field}; expected {_EXPECTED[field]}"
    yield from _written_twice(config)


def _names(config: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str, object]]:
    """Path, kind and value of each name."""
    for section in ("source", "target"):
        table = config.get(section) or {}
        if table.get("type", "bigquery") != "bigquery":
            continue
        for field in _PATTERNS:
            if table.get(field) is not None:
                yield (section, field), field, table[field]
    for path, name in _further_tables(config):
        yield path, "table", name


def _further_tables(config: Mapping[str, Any]) -> Iterator[tuple[FieldPath, object]]:
    for key, name in ((config.get("target") or {}).get("tables") or {}).items():
        yield ("target", "tables", key), name


def _written_twice(config: Mapping[str, Any]) -> Iterator[tuple[FieldPath, str]]:
    # Two kinds of rows in one table would replace each other's days.
    taken = {(config.get("target") or {}).get("table"): "target.table"}
    for path, name in _further_tables(config):
        if name in taken:
            yield path, f"{shorten(name)} is {taken[name]} already; each table needs a name of its own"
        taken.setdefault(name, dotted(path))


def _without_templates(text: str) -> str:
    try:
        parts = split_template(text)
    except ValueError:
        return text
    return "".join(part if isinstance(part, str) else "a" for part in parts)
