"""The types of single fields in configs: patterns, and rules that need more than a pattern."""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from pipeline_core.identifiers import NAME
from pipeline_core.processor_packages import VARIABLE, import_package, is_of
from pipeline_core.templates import BUILT_INS
from pipeline_core.wording import shorten

# Where processors live. The first is how the specification spells it; the runner's package is where they really are.
SPECIFIED_PROCESSORS = "src.core.processors."
RUNNER_PROCESSORS = "pipeline_runner.processors."

_DATASET = re.compile(r"\{\{\s*org_slug\s*\}\}_\{\{\s*env\s*\}\}")
_MODULE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")


def _check_module(module: str, info: ValidationInfo) -> str:
    packages: Sequence[str] = (info.context or {}).get("processor_packages", ())
    further = [import_package(name) for name in packages]
    real = (
        RUNNER_PROCESSORS + module.removeprefix(SPECIFIED_PROCESSORS)
        if module.startswith(SPECIFIED_PROCESSORS)
        else module
    )
    is_allowed = real.startswith(RUNNER_PROCESSORS) or any(is_of(real, package) for package in further)
    if not _MODULE.fullmatch(real) or not is_allowed:
        expected = ", ".join((SPECIFIED_PROCESSORS, RUNNER_PROCESSORS, *(f"{package}." for package in further)))
        raise ValueError(
            f"{shorten(module)} isn't a module of an allowed package; it must begin with one of: {expected}; "
            f"{VARIABLE} allows further packages"
        )
    return real


def _check_dataset(dataset: str) -> str:
    # Anything else would let a config write into another organization's dataset.
    if not _DATASET.fullmatch(dataset):
        raise ValueError(f'must be "{{{{org_slug}}}}_{{{{env}}}}", got {shorten(dataset)}')
    return "{{org_slug}}_{{env}}"


def _check_setting_name(name: str) -> str:
    if name in BUILT_INS:
        raise ValueError("a built-in variable has this name, so a setting can't")
    return name


def _check_cron(expression: str) -> str:
    # Imported here: a runner has to do with fields, but not with schedules, whose library is a part of its start.
    from pipeline_core.schedules.cron import check_cron_expression

    try:
        return check_cron_expression(expression)
    except ValueError as error:
        raise ValueError(f"{shorten(expression)}, expected {error}") from None


Name = Annotated[str, StringConstraints(pattern=f"^{NAME.pattern}$")]
SettingName = Annotated[Name, AfterValidator(_check_setting_name)]
Text = Annotated[str, Field(min_length=1, max_length=1_000)]
ClassName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]
ModuleName = Annotated[str, Field(max_length=500), AfterValidator(_check_module)]
# A column, or a field within one: `cost`, `credits.amount`.
Column = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$", max_length=300)
]
ColumnName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=300)]
TargetDataset = Annotated[str, AfterValidator(_check_dataset)]
Cron = Annotated[str, Field(max_length=200), AfterValidator(_check_cron)]
