"""`pipelines quickstart`: a cluster, the operator in it, a billing export in, checked rows out."""

import typer
from rich.console import Console

from pipeline_local.errors import LocalError


def quickstart() -> None:
    """Set up a cluster on this machine and run a pipeline in it, from a billing export to an organization's table.

    Harmless to repeat: what is there is used, what is missing is made. Ends with 0 only if every figure is as it
    should be.
    """
    # not at the top: the command line must not load database and data libraries for every other command
    from pipeline_local.quickstart.tour import tour

    console = Console()
    try:
        tour(console)
    except LocalError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on from here", style="yellow")
        raise typer.Exit(130) from None
