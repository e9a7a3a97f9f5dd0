"""A processor comes from the runner's packages or from an allowed one that declares it; nothing else is imported."""

import sys
from pathlib import Path

import pytest

from pipeline_runner.errors import ConfigError
from pipeline_runner.loading import load_processor
from pipeline_runner.packages import Declared, check_declared, installed
from pipeline_runner.processors.demo.noop import NoopProcessor

PROCESSOR = """\
from pathlib import Path
from pipeline_runner.processors.base import BaseProcessor

Path(__file__).with_name("imported").touch()

class Invoices(BaseProcessor):
    pass

class Unrelated:
    pass
"""


class Packages:
    """A folder of installed packages, made as an installer makes them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, distribution: str, points: str, *, package: str = "acme_invoices", code: str = PROCESSOR) -> None:
        module = self.folder / package
        module.mkdir()
        (module / "__init__.py").write_text("")
        (module / "processor.py").write_text(code)
        metadata = self.folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (metadata / "entry_points.txt").write_text(f"[pipelines.processors]\n{points}\n")

    def was_imported(self, package: str = "acme_invoices") -> bool:
        return (self.folder / package / "imported").exists()


@pytest.fixture
def packages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Packages(tmp_path)
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("acme_invoices", "other"):
            del sys.modules[name]


def config(module: object = "acme_invoices.processor", class_name: object = "Invoices") -> dict[str, object]:
    return {"processor": {"module": module, "class": class_name}}


def refusal(section: dict[str, object], *allowed: str) -> str:
    with pytest.raises(ConfigError) as error:
        load_processor(section, allowed)
    return str(error.value)


def test_the_runners_own_need_no_permission():
    assert load_processor(config("pipeline_runner.processors.demo.noop", "NoopProcessor")) is NoopProcessor


def test_what_an_allowed_package_declares_is_loaded(packages):
    packages.install("Acme.Invoices", "invoices = acme_invoices.processor:Invoices")
    loaded = load_processor(config(), ["acme-invoices"])
    assert (loaded.__module__, loaded.__name__) == ("acme_invoices.processor", "Invoices")
    assert packages.was_imported()


def test_a_package_that_is_not_allowed_is_named_and_not_imported(packages):
    packages.install("acme-invoices", "invoices = acme_invoices.processor:Invoices")
    assert refusal(config(), "other-package") == (
        "processor.module: 'acme_invoices.processor' can't be loaded: acme-invoices 1.2 declares it, "
        "but is not allowed. Allowed packages (PIPELINES_PROCESSOR_PACKAGES): other-package; "
        "installed ones with processors: acme-invoices 1.2"
    )
    assert "Allowed packages (PIPELINES_PROCESSOR_PACKAGES): none" in refusal(config())
    assert not packages.was_imported()


def test_a_module_that_its_package_does_not_declare_is_not_imported(packages):
    packages.install("acme-invoices", "invoices = acme_invoices.another:Invoices")
    assert "no installed package declares it in pipelines.processors" in refusal(config(), "acme-invoices")
    assert not packages.was_imported()


def test_an_allowed_package_cannot_bring_in_another_ones_module(packages):
    packages.install("other", "a = acme_invoices.processor:Invoices\nb = os:system", package="acme_invoices")
    assert "other 1.2 declares it, but is not a module of other, the package's own" in refusal(config(), "other")
    assert "not a module of other" in refusal(config("os", "system"), "other")
    assert not packages.was_imported()


def test_another_package_cannot_declare_an_allowed_ones_module(packages):
    packages.install("other", "a = acme_invoices.processor:Invoices", package="acme_invoices")
    assert "other 1.2 declares it, but is not allowed" in refusal(config(), "acme-invoices")
    assert not packages.was_imported()


def test_a_class_that_is_not_declared_is_refused_before_the_import(packages):
    packages.install("acme-invoices", "invoices = acme_invoices.processor:Invoices")
    message = refusal(config(class_name="Unrelated"), "acme-invoices")
    expected = "acme-invoices 1.2 declares no 'Unrelated' of acme_invoices.processor; declared: Invoices"
    assert message == f"processor.class: {expected}"
    assert not packages.was_imported()


def test_a_declared_class_that_is_no_processor_is_refused(packages):
    packages.install("acme-invoices", "a = acme_invoices.processor:Unrelated\nb = acme_invoices.processor:Gone")
    for name in ("Unrelated", "Gone"):
        message = refusal(config(class_name=name), "acme-invoices")
        assert message == f"processor.class: acme_invoices.processor has no processor '{name}'"


def test_a_declared_module_that_is_missing_is_told(packages):
    packages.install("acme-invoices", "a = acme_invoices.gone:Invoices")
    message = refusal(config("acme_invoices.gone"), "acme-invoices")
    assert message == "processor.module: there is no module acme_invoices.gone"


@pytest.mark.parametrize("missing", ["acme", "acme_invoices_client", "nowhere"])
def test_what_the_module_itself_cannot_import_is_its_own_error(packages, missing):
    packages.install("acme-invoices", "a = acme_invoices.processor:Invoices", code=f"import {missing}\n")
    with pytest.raises(ModuleNotFoundError, match=missing):
        load_processor(config(), ["acme-invoices"])


@pytest.mark.parametrize(
    "section",
    [
        {},
        {"processor": "x"},
        config(module=5),
        config(class_name=None),
        config("os", "system"),
        config("pipeline_runner.processors.", "X"),
        config("pipeline_runner.processors..os", "X"),
        config("pipeline_runner.processors_evil.x", "X"),
        config("../x", "X"),
        config("pipeline_runner.processors.nothing", "X"),
        config("pipeline_runner.processors.demo.noop", "Path"),
    ],
)
def test_nothing_else_is_loaded(section):
    assert refusal(section).startswith("processor")


def test_only_well_formed_declarations_count(packages):
    points = "a = acme_invoices.processor:Invoices\nb = acme_invoices.processor\nc = acme_invoices.x:Y.z\nd = Not:X!"
    packages.install("acme-invoices", points)
    assert [each for each in installed() if each.package == "acme-invoices"] == [
        Declared("acme-invoices", "1.2", "a", "acme_invoices.processor", "Invoices")
    ]


def test_the_list_of_installed_packages_names_each_once():
    found = [Declared("p", "1", name, "p.m", name) for name in "ab"]
    with pytest.raises(ConfigError, match=r"installed ones with processors: p 1$"):
        check_declared("p.other", "a", ["p"], found)
