"""The watcher notices each change, keeps the last good catalog, and says what is wrong with the new one."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from pipeline_core.catalog import files
from pipeline_core.catalog import watcher as watcher_module
from pipeline_core.catalog.problems import CatalogInvalidError
from pipeline_core.catalog.watcher import CatalogWatcher


@pytest.fixture
def watcher(folder) -> CatalogWatcher:
    return CatalogWatcher(folder.root)


def test_unchanged_files_are_not_read_again(watcher, monkeypatch):
    catalog = watcher.current()
    monkeypatch.setattr(watcher_module, "read_files", lambda directory: pytest.fail(f"read {directory}"))
    assert watcher.current() is catalog


def test_an_edit_an_addition_and_a_removal_are_noticed(folder, watcher):
    before = watcher.current()
    folder.edit_billing("GCP Billing Extraction", "Costs of Google Cloud")
    edited = watcher.current()
    assert edited.get("gcp", "cost", "billing").content.pipeline.display_name == "Costs of Google Cloud"
    assert edited.hash != before.hash
    added = folder.write_smallest("gcp/cost/more.yml", provider="gcp", domain="cost", name="more")
    assert len(watcher.current().pipelines) == 2
    added.unlink()
    assert len(watcher.current().pipelines) == 1
    assert before.get("gcp", "cost", "billing").content.pipeline.display_name == "GCP Billing Extraction"


def test_an_edit_that_keeps_size_and_modification_time_is_noticed(folder, watcher):
    file = folder.root / "gcp/cost/billing.yml"
    before, status = watcher.current(), file.stat()
    folder.edit_billing("gcp_billing_costs", "gcp_billing_costz")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert watcher.current().hash != before.hash


def test_a_broken_catalog_leaves_the_last_good_one_in_use(folder, watcher, monkeypatch):
    good = watcher.current()
    assert watcher.error is None
    folder.edit_billing("domain: cost", "domain: [")
    assert watcher.current() is good
    assert watcher.error is not None
    assert "gcp/cost/billing.yml:" in str(watcher.error)
    with monkeypatch.context() as patch:
        patch.setattr(watcher_module, "build_catalog", lambda *_: pytest.fail("the broken files were parsed again"))
        assert watcher.current() is good
    folder.edit_billing("domain: cost", "domain: cost ")
    assert watcher.current().hash != good.hash
    assert watcher.error is None


def test_a_catalog_that_was_never_good_is_an_error_each_time(folder, watcher):
    folder.write("gcp/cost/billing.yml", "")
    errors = []
    for _ in range(2):
        with pytest.raises(CatalogInvalidError, match="the file is empty") as error:
            watcher.current()
        errors.append(error.value)
    assert errors[0] is not errors[1]


def test_a_folder_that_goes_away_for_a_moment_is_survived(folder, watcher, tmp_path):
    good = watcher.current()
    folder.root.rename(tmp_path / "elsewhere")
    assert watcher.current() is good
    assert "can't be read" in str(watcher.error)
    (tmp_path / "elsewhere").rename(folder.root)
    assert watcher.current().hash == good.hash
    assert watcher.error is None


def swap(volume: Path, target: str) -> None:
    """What the kubelet does with a changed ConfigMap: it renames a new link over `..data`."""
    (volume / "..data_tmp").symlink_to(target)
    (volume / "..data_tmp").rename(volume / "..data")


def test_a_swapped_config_map_volume_is_noticed(folder, tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    for revision, name in (("..1", "Old"), ("..2", "New")):
        folder.edit_billing("GCP Billing Extraction", name)
        shutil.copytree(folder.root, volume / revision)
    swap(volume, "..1")
    for name in ("system", "gcp"):
        (volume / name).symlink_to(f"..data/{name}")
    watcher = CatalogWatcher(volume)
    assert watcher.current().get("gcp", "cost", "billing").content.pipeline.display_name == "Old"
    swap(volume, "..2")
    assert watcher.current().get("gcp", "cost", "billing").content.pipeline.display_name == "New"


def test_a_swap_while_reading_never_mixes_two_revisions(folder, monkeypatch):
    read = files._read
    swaps = iter([True])

    def read_and_swap(path: Path) -> bytes:
        content = read(path)
        if next(swaps, False):
            folder.edit_billing("GCP Billing Extraction", "New")
            folder.write_smallest("gcp/cost/more.yml", provider="gcp", domain="cost", name="more")
        return content

    monkeypatch.setattr(files, "_read", read_and_swap)
    catalog = CatalogWatcher(folder.root).current()
    assert catalog.get("gcp", "cost", "billing").content.pipeline.display_name == "New"
    assert len(catalog.pipelines) == 2


def test_threads_see_whole_catalogs_only(folder, watcher):
    watcher.current()
    wrong: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            catalog = watcher.current()
            if not 1 <= len(catalog.pipelines) <= 2 or catalog.get("gcp", "cost", "billing") is None:
                wrong.append(catalog)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        folder.write_smallest("gcp/cost/more.yml", provider="gcp", domain="cost", name="more").unlink()
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
