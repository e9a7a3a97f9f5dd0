"""The allow list of processors' packages: names as installers compare them, and none that could name no package."""

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline_core.processor_packages import check_names, import_package, is_of
from pipeline_core.settings import ProcessorPackages
from pipeline_runner.settings import RunnerSettings


def test_names_are_compared_as_installers_do():
    assert check_names(["Acme_Invoices", "acme.invoices", "acme-invoices", "other"]) == ["acme-invoices", "other"]
    assert import_package("Acme.Invoices--X") == "acme_invoices_x"


@pytest.mark.parametrize("name", ["3to2", "acme invoices", "acme/invoices", "../x", "import", "", "-", "é", "a\n", "*"])
def test_a_name_that_no_import_package_can_have_is_refused(name):
    with pytest.raises(ValueError, match=r"can't be the name of a package with processors; expected distributions'"):
        check_names([name])


@pytest.mark.parametrize(
    ("module", "of_it"),
    [("acme", True), ("acme.a.b", True), ("acme_evil.a", False), ("acm", False), ("x.acme", False)],
)
def test_a_package_holds_itself_and_what_is_below(module, of_it):
    assert is_of(module, "acme") is of_it


def test_the_setting_is_a_list_with_commas(monkeypatch):
    monkeypatch.setenv("PIPELINES_PROCESSOR_PACKAGES", " acme-invoices, Other_One,,")
    assert RunnerSettings().processor_packages == ["acme-invoices", "other-one"]
    monkeypatch.delenv("PIPELINES_PROCESSOR_PACKAGES")
    assert RunnerSettings().processor_packages == []


def test_a_wrong_setting_is_told_by_its_value():
    with pytest.raises(ValidationError, match=r"'os\.path\*' can't be the name of a package"):
        TypeAdapter(ProcessorPackages).validate_python("acme, os.path*")
