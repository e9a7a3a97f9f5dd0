"""`pipelines processors`: which processors configs can name here, and which packages bring them."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import typer
from rich.table import Table

from pipeline_cli import options
from pipeline_core import __version__
from pipeline_core.processor_packages import GROUP
from pipeline_runner import processors as own
from pipeline_runner.packages import installed
from pipeline_runner.processors.base import BaseProcessor


@dataclass(frozen=True)
class Listed:
    """One processor: `allowed` says `yes`, or why not. `class_name` and `module` are a config's."""

    name: str
    class_name: str
    module: str
    package: str
    version: str
    allowed: str


def processors(processor_packages: options.Packages = "", output: options.Output = "table") -> None:
    """List the processors that are installed here, and whether configs may name them.

    Those of installed packages are read from what they declare; nothing of theirs is imported.
    """
    allowed = options.package_names(processor_packages)
    found = [*_own(), *_installed(allowed)]
    options.write(output, [_plain(each) for each in found], lambda: _table(found))
    missing = [name for name in allowed if name not in {each.package for each in found}]
    if missing:
        typer.echo(f"Allowed, but not installed here or without processors in {GROUP}: {', '.join(missing)}", err=True)


def _plain(listed: Listed) -> dict[str, str]:
    plain = asdict(listed)
    return {"class" if name == "class_name" else name: value for name, value in plain.items()}


def _table(found: list[Listed]) -> Table:
    table = options.columns("NAME", "CLASS", "MODULE", "PACKAGE", "VERSION", "ALLOWED")
    for each in found:
        table.add_row(each.name, each.class_name, each.module, each.package, each.version, each.allowed)
    return table


def _installed(allowed: list[str]) -> Iterator[Listed]:
    for each in installed():
        verdict = each.problem(allowed) or "yes"
        yield Listed(each.name, each.class_name, each.module, each.package, each.version, verdict)


def _own() -> Iterator[Listed]:
    """The processors of the runner itself: classes that can load, and that no other one builds upon."""
    classes = {
        each
        for info in pkgutil.walk_packages(own.__path__, f"{own.__name__}.")
        for _, each in inspect.getmembers(importlib.import_module(info.name), inspect.isclass)
        if issubclass(each, BaseProcessor) and each.__module__ == info.name
    }
    bases = {base for each in classes for base in each.__mro__[1:]}
    for each in sorted(classes - bases, key=lambda found: (found.__module__, found.__name__)):
        yield Listed(each.__name__, each.__name__, each.__module__, "pipeline-operator", __version__, "yes")
