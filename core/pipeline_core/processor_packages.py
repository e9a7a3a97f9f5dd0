"""Packages beside the runner's own that processors may come from: an installation allows them by their names.

The operator and the bridge don't have such a package installed, so its name is all they can judge a config by: the
modules of the distribution `acme-invoices` are those of its import package `acme_invoices`. The runner, which has it,
asks for more before it imports anything (pipeline_runner.packages).
"""

import keyword
import re
from collections.abc import Iterable

from pipeline_core.wording import shorten

# Of entry points that installed packages declare their processors in.
GROUP = "pipelines.processors"
VARIABLE = "PIPELINES_PROCESSOR_PACKAGES"

_IMPORTABLE = re.compile(r"[a-z_][a-z0-9_]*")


def distribution(name: str) -> str:
    """A distribution's name as installers compare it: Acme_Invoices is acme-invoices."""
    return re.sub(r"[-_.]+", "-", name).lower()


def import_package(name: str) -> str:
    """The import package that a distribution's processors stand in: acme_invoices for acme-invoices."""
    return distribution(name).replace("-", "_")


def is_of(module: str, package: str) -> bool:
    """Whether a module is the import package, or below it."""
    return f"{module}.".startswith(f"{package}.")


def check_names(names: Iterable[str]) -> list[str]:
    """The names as installers compare them, each once. Raises ValueError naming one that no processor can come from."""
    checked = []
    for name in names:
        package = import_package(name)
        if not _IMPORTABLE.fullmatch(package) or not package.strip("_") or keyword.iskeyword(package):
            raise ValueError(
                f"{shorten(name)} can't be the name of a package with processors; expected distributions' names "
                "such as acme-invoices, separated by commas"
            )
        checked.append(distribution(name))
    return list(dict.fromkeys(checked))
