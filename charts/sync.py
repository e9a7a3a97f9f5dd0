"""Brings the chart's copies up to date: the CRDs, the catalog, and the table of values in its README.

Helm reads no file outside a chart, so `crds/` and `configs/` are copied into it; the table is made from
`values.schema.json` (what each value means) and `values.yaml` (its default). `--check` changes nothing and fails if
something is out of date.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

TABLE_START = "<!-- values: made by charts/sync.py -->\n"
TABLE_END = "<!-- end of values -->\n"

# In these a value is given as a whole, so the table has one row for it.
_WHOLE = {"resources", "files", "annotations", "labels", "nodeSelector", "affinity"}


def expected_files(root: Path) -> dict[Path, str]:
    """Every file under `charts/pipelines` that is made from another one, by path, with the text it should have."""
    chart = root / "charts" / "pipelines"
    files = {chart / "files" / "crds" / path.name: path.read_text() for path in (root / "crds").glob("*.yaml")}
    for path in (root / "configs").rglob("*.yml"):
        files[chart / "files" / "configs" / path.relative_to(root / "configs")] = path.read_text()
    readme = chart / "README.md"
    files[readme] = with_table(readme.read_text(), values_table(chart))
    return files


def out_of_date(root: Path) -> dict[Path, str | None]:
    """What has to be written, by path; None where a file has to go."""
    expected = expected_files(root)
    changes: dict[Path, str | None] = {
        path: text for path, text in expected.items() if not path.exists() or path.read_text() != text
    }
    files = root / "charts" / "pipelines" / "files"
    copies = (path for name in ("crds", "configs") for path in (files / name).rglob("*") if path.is_file())
    return changes | {path: None for path in copies if path not in expected}


def values_table(chart: Path) -> str:
    """The table of values in Markdown: name, default, description."""
    schema = json.loads((chart / "values.schema.json").read_text())
    values = yaml.safe_load((chart / "values.yaml").read_text())
    lines = ["| Value | Default | Description |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | `{json.dumps(value)}` | {text} |" for name, value, text in _rows("", values, schema)]
    return "\n".join(lines) + "\n"


def with_table(readme: str, table: str) -> str:
    """`readme` with `table` between its two marks. Raises ValueError if a mark is missing."""
    before, start, rest = readme.partition(TABLE_START)
    _, end, after = rest.partition(TABLE_END)
    if not start or not end:
        raise ValueError(f"the README has no {TABLE_START.strip()} or no {TABLE_END.strip()}")
    return f"{before}{start}\n{table}\n{end}{after}"


def _rows(prefix: str, values: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    for key, value in values.items():
        described = schema["properties"][key]
        if isinstance(value, dict) and key not in _WHOLE:
            yield from _rows(f"{prefix}{key}.", value, described)
        else:
            yield prefix + key, value, described["description"].replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Sync, or with `--check` only compare; the exit status."""
    parser = argparse.ArgumentParser(description="Bring the chart's copies of crds/ and configs/ up to date.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if something is out of date")
    check = parser.parse_args(arguments).check
    root = Path(__file__).resolve().parent.parent
    changes = out_of_date(root)
    for path, text in changes.items():
        sys.stdout.write(f"{'out of date' if check else 'updated'}: {path.relative_to(root)}\n")
        if check:
            continue
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if check and changes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
