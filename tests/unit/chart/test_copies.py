"""The chart's copies of the CRDs and the catalog, the table in its README, and its version are up to date."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from pipeline_core import __version__

ROOT = Path(__file__).parents[3]


def load_sync() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sync", ROOT / "charts" / "sync.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sync: Any = load_sync()


def test_everything_is_up_to_date() -> None:
    assert list(sync.out_of_date(ROOT)) == [], "run `.venv/bin/python charts/sync.py`"


def test_version_is_that_of_the_code() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "pipelines" / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository whose chart is up to date."""
    files = {
        "crds/a.yaml": "a",
        "configs/gcp/cost/billing.yml": "b",
        "charts/pipelines/values.yaml": "env: ''\nplaces: {labels: {}, ports: {http: 80}}\n",
        "charts/pipelines/values.schema.json": (
            '{"properties": {"env": {"description": "A|B."}, "places": {"properties": {'
            '"labels": {"description": "L."}, "ports": {"properties": {"http": {"description": "P."}}}}}}}'
        ),
        "charts/pipelines/README.md": f"above\n{sync.TABLE_START}old\n{sync.TABLE_END}below\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    apply(tmp_path)
    return tmp_path


def apply(root: Path) -> None:
    for path, text in sync.out_of_date(root).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_copies_are_made(tree: Path) -> None:
    assert (tree / "charts/pipelines/files/crds/a.yaml").read_text() == "a"
    assert (tree / "charts/pipelines/files/configs/gcp/cost/billing.yml").read_text() == "b"
    assert sync.out_of_date(tree) == {}


def test_a_changed_and_a_removed_source_are_noticed(tree: Path) -> None:
    (tree / "crds/a.yaml").write_text("new")
    (tree / "configs/gcp/cost/billing.yml").unlink()
    assert sync.out_of_date(tree) == {
        tree / "charts/pipelines/files/crds/a.yaml": "new",
        tree / "charts/pipelines/files/configs/gcp/cost/billing.yml": None,
    }


def test_the_table_has_a_row_for_each_value(tree: Path) -> None:
    readme = (tree / "charts/pipelines/README.md").read_text()
    rows = [line for line in readme.splitlines() if line.startswith("| `")]
    assert rows == [
        '| `env` | `""` | A\\|B. |',
        "| `places.labels` | `{}` | L. |",
        "| `places.ports.http` | `80` | P. |",
    ]
    assert readme.startswith("above\n")
    assert readme.endswith("below\n")
    assert "old" not in readme


def test_a_readme_without_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no"):
        sync.with_table("nothing here", "table")
