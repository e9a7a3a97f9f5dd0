"""`pipelines validate`: checks configs as CI would."""

import json
import os
from collections.abc import Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline_cli import options
from pipeline_core.catalog.files import PROVIDERS_FILE, CatalogFiles, read_files
from pipeline_core.catalog.loader import build_catalog
from pipeline_core.catalog.problems import CatalogInvalidError, Problem
from pipeline_core.catalog.snapshot import Catalog

_DEFAULT_PATH = Path("configs")


def validate(
    path: Annotated[Path, typer.Argument(help="The folder of configs, or a file or folder within it.")] = _DEFAULT_PATH,
    output: Annotated[
        Literal["text", "json"], typer.Option("--output", "-o", help="How to write the result.")
    ] = "text",
    processor_packages: options.Packages = "",
) -> None:
    """Check the provider registry and pipeline configs, and ask their processors what they say of them.

    Prints each problem as `file:line: field: message` and exits with 1, or says how many pipelines are valid.
    """
    checked, problems = _check(path, options.package_names(processor_packages))
    if output == "json":
        errors = [asdict(problem) for problem in problems]
        typer.echo(json.dumps({"valid": not errors, "checked": checked, "errors": errors}, indent=2))
    elif problems:
        typer.echo("\n".join(map(str, problems)))
    else:
        typer.echo(f"{path} is valid: {checked} pipeline config{'' if checked == 1 else 's'}")
    if problems:
        raise typer.Exit(1)


def _check(path: Path, packages: Sequence[str]) -> tuple[int, list[Problem]]:
    """How many pipeline configs stand at `path`, and what is wrong with them or with the registry they need."""
    target = Path(os.path.abspath(path))  # noqa: PTH100  without following links, so that files keep their names
    if not target.exists():
        return 0, [Problem(str(path), 1, "", "no such file or folder")]
    root = next((folder for folder in (target, *target.parents) if (folder / PROVIDERS_FILE).is_file()), target)
    if not root.is_dir():
        return 0, [Problem(str(path), 1, "", f"not part of a catalog: no folder above it has {PROVIDERS_FILE}")]
    within = target.relative_to(root).parts
    shown = root if path.is_absolute() else Path(os.path.relpath(root))
    paths: Set[str] = frozenset()
    try:
        files = read_files(root)
        paths = files.contents.keys()
        catalog = build_catalog(files, packages)
        problems: Sequence[Problem] = _ask_processors(catalog, files, within, packages)
    except CatalogInvalidError as error:
        problems = error.problems
    asked = [name for name in paths if _stands_in(name, within)]
    # A problem of no file of the catalog is one of the registry, or of the folder as a whole.
    told = [problem for problem in problems if problem.file in asked or problem.file not in paths - {PROVIDERS_FILE}]
    if not asked and not told:
        told = [Problem("/".join(within), 1, "", "no config stands here; configs are files that end in .yml")]
    return len([name for name in asked if name != PROVIDERS_FILE]), [
        replace(problem, file=str(shown / problem.file)) for problem in told
    ]


def _ask_processors(
    catalog: Catalog, files: CatalogFiles, within: tuple[str, ...], packages: Sequence[str]
) -> list[Problem]:
    """What processors find wrong with the configs that are asked for; those that aren't installed here are told."""
    # Imported here: a catalog with problems of its own doesn't wait for BigQuery's client.
    from pipeline_cli.processor_checks import is_installed, processor_problems

    problems = []
    for config in catalog.pipelines:
        if not _stands_in(config.path, within):
            continue
        if is_installed(config):
            problems += processor_problems(catalog, files, config, packages)
        else:
            module = config.content.processor.module
            typer.echo(f"{config.path}: {module} isn't installed here: source and checks weren't looked at", err=True)
    return problems


def _stands_in(name: str, within: tuple[str, ...]) -> bool:
    return Path(name).parts[: len(within)] == within
