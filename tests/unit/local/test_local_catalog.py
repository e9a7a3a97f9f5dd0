"""The local installation's catalog: the checkout's, with the demonstration pipelines added."""

from pathlib import Path

from pipeline_core.catalog.loader import load_catalog
from pipeline_local.catalog import local_files
from pipeline_local.images_content import checkout


def test_it_is_a_valid_catalog_with_the_noop_pipeline(tmp_path: Path) -> None:
    configs = checkout() / "configs"
    files = {path.relative_to(configs).as_posix(): path.read_text() for path in configs.rglob("*.yml")}
    for path, text in {**files, **local_files()}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    catalog = load_catalog(tmp_path)
    assert catalog.get("demo", "test", "noop").content.target.table == "noop"
    assert set(load_catalog(configs).providers) == set(catalog.providers) - {"demo"}


def test_the_product_itself_has_none_of_it() -> None:
    assert "demo" not in load_catalog(checkout() / "configs").providers
