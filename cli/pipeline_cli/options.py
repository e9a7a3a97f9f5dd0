"""Arguments and options that several commands have, and how results are written."""

import json
from collections.abc import Callable, Collection
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from pipeline_cli.failing import refused
from pipeline_core.outcome import ExitCode
from pipeline_core.processor_packages import VARIABLE, check_names

Org = Annotated[str, typer.Argument(metavar="ORG", help="Organization: a lower-case slug such as acme_corp.")]
AnyOrg = Annotated[
    str | None, typer.Argument(metavar="ORG", help="Organization; all of them by default.", show_default=False)
]
Output = Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="How to write the result.")]

Packages = Annotated[
    str,
    typer.Option(
        "--processor-packages",
        envvar=VARIABLE,
        metavar="NAMES",
        help="Packages that processors may come from, separated by commas.",
        show_default=False,
    ),
]

_WIDEST = 10_000


def package_names(given: str) -> list[str]:
    """The names of `Packages`. Ends the command where one is wrong."""
    try:
        return check_names(part.strip() for part in given.split(",") if part.strip())
    except ValueError as error:
        raise refused(f"--processor-packages: {error}", ExitCode.CONFIG) from None


def write(output: str, plain: object, table: Callable[[], Table]) -> None:
    """Write a result on standard output, as JSON or as a table."""
    if output == "json":
        write_json(plain)
    else:
        write_table(table())


def write_json(plain: object) -> None:
    """Write a result for programs."""
    typer.echo(json.dumps(plain, indent=2))


def write_table(table: Table) -> None:
    """Write a result for people, and for programs that read lines."""
    console = Console()
    if not console.is_terminal:
        # rich takes a pipe for a terminal of 80 columns, and would break ids in two
        console = Console(width=_WIDEST)
    console.print(table)


def columns(*names: str, numbers: Collection[str] = ()) -> Table:
    """A table with these headings, without lines; `numbers` are the columns that are aligned to the right."""
    made = Table(box=None, pad_edge=False)
    for name in names:
        made.add_column(name, justify="right" if name in numbers else "left")
    return made
