"""`pipelines local`: the cluster on this machine, or the one that stands in for it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from pipeline_local import backends, clients, progress, shell
from pipeline_local.errors import LocalError
from pipeline_local.paths import Paths
from pipeline_local.state import State

app = typer.Typer(no_args_is_help=True, help="A real one-node Kubernetes on this machine, for trying and testing.")
_output = Console()
_messages = Console(stderr=True)


@contextmanager
def _plainly() -> Iterator[None]:
    """Show what a person can act on as a sentence, not as a traceback."""
    try:
        yield
    except LocalError as error:
        _messages.print(f"error: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error


@app.command()
def up(
    backend: Annotated[
        str, typer.Option(help="auto, embedded or kind. auto: kind if it is there and Docker answers.")
    ] = "auto",
    context: Annotated[str | None, typer.Option(help="Use the existing cluster of this kubeconfig context.")] = None,
    image_repository: Annotated[
        str | None, typer.Option(help="With --context: where its nodes can pull this project's images from.")
    ] = None,
) -> None:
    """Start the cluster, or repair it. Harmless when it runs.

    It is empty then: `make quickstart` (or `pipelines quickstart`) installs the chart, with the operator, into it.
    """
    paths = Paths.from_environment()
    state = State(paths.state)
    with _plainly(), state.exclusive():
        choice = backends.settle(state, backend, context, image_repository)
        # crash here, or anywhere below: the next `up` goes on with the same choice
        state.set_backend(choice)
        with progress.reporter(_messages) as reporter:
            backends.open_backend(choice, paths, state).up(reporter)
    _messages.print(
        f'The cluster is up ({choice.name}). To use it: eval "$(pipelines local env)"\n'
        "To install the chart into it: make quickstart (or pipelines quickstart); "
        "`env` then has the addresses of its services too.",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


@app.command()
def down(
    purge: Annotated[bool, typer.Option(help="Also forget its data, images, ports and certificates.")] = False,
) -> None:
    """End the cluster and all that it runs. Its data and ports are kept for the next start, as are all caches."""
    paths = Paths.from_environment()
    state = State(paths.state)
    if not paths.state.exists():
        return
    with _plainly(), state.exclusive():
        choice = state.recover() if purge else state.backend
        with progress.reporter(_messages) as reporter:
            if choice is not None:
                backends.open_backend(choice, paths, state).down(reporter)
        if purge:
            shutil.rmtree(paths.state)
        else:
            state.set_backend(None)
    _messages.print("The cluster is down.")


@app.command()
def status() -> None:
    """Show what each component does. Ends with 0 only if all are well."""
    paths = Paths.from_environment()
    with _plainly():
        statuses = backends.current(paths).status()
    table = Table("Component", "State", "PID", Column("Address", overflow="fold"))
    for one in statuses:
        told = "[green]well[/]" if one.is_well else f"[red]{one.problem}[/]"
        table.add_row(one.name, told, str(one.pid or ""), one.address)
    _output.print(table)
    if not all(one.is_well for one in statuses):
        raise typer.Exit(1)


@app.command()
def env() -> None:
    """Print the variables to use the cluster with, for `eval "$(pipelines local env)"`.

    The addresses of the services are among them once `make quickstart` (or `pipelines quickstart`) has installed them.
    """
    paths = Paths.from_environment()
    with _plainly():
        backends.current(paths)
        clients.link_ourselves(paths, Path(sys.executable))
        lines = shell.export_lines(paths, State(paths.state).exports, os.environ.get("PATH", os.defpath))
    for line in lines:
        typer.echo(line)


@app.command()
def logs(
    component: Annotated[str | None, typer.Argument(help="For example kubelet; all of them by default.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as more is written.")] = False,
    lines: Annotated[int, typer.Option(min=0, help="How many of the last lines to show.")] = 100,
) -> None:
    """Show the logs of the cluster's components."""
    files = sorted(Paths.from_environment().logs.glob("*.log"))
    if component is not None:
        known = ", ".join(file.stem for file in files) or "none"
        files = [file for file in files if file.stem == component]
        if not files:
            _messages.print(f"error: no log of component {component!r}: expected one of {known}", style="red")
            raise typer.Exit(1)
    if not files:
        return
    sys.stdout.flush()
    command = ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), *map(str, files)]
    try:
        raise typer.Exit(subprocess.run(command, check=False).returncode)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
