"""The `pipelines` command."""

from typing import Annotated

import typer

from pipeline_cli.backfill import backfill
from pipeline_cli.credentials import credentials
from pipeline_cli.integrations import integration
from pipeline_cli.keys import keys
from pipeline_cli.organizations import org
from pipeline_cli.processors import processors
from pipeline_cli.quota import quota
from pipeline_cli.run import run
from pipeline_cli.schedules import schedules
from pipeline_cli.subscriptions import subscription
from pipeline_cli.validate import validate
from pipeline_core import __version__
from pipeline_local.cli import app as local
from pipeline_local.quickstart.main import quickstart

app = typer.Typer(
    name="pipelines",
    help="Pull cloud and AI bills into each organization's own BigQuery.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(validate)
app.command()(processors)
app.command()(run)
app.command()(backfill)
app.command()(quickstart)
app.add_typer(org, name="org")
app.add_typer(subscription, name="subscription")
app.add_typer(integration, name="integration")
app.add_typer(credentials, name="credentials")
app.add_typer(quota, name="quota")
app.add_typer(keys, name="keys")
app.add_typer(schedules, name="schedules")
app.add_typer(local, name="local")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pipelines {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Pull cloud and AI bills into each organization's own BigQuery."""
