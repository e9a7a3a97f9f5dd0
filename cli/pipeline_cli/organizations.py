"""`pipelines org` and `pipelines integration`: what an organization needs before its first run."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from pipeline_cli.failing import refused, sentences
from pipeline_core.settings import BigQuerySettings, DatabaseSettings

# Clients are imported where they are needed: most commands never meet a service.
if TYPE_CHECKING:
    from pipeline_core.store.integrations import Integration, Integrations

T = TypeVar("T")

org = typer.Typer(no_args_is_help=True, help="Organizations and their datasets.")
integration = typer.Typer(no_args_is_help=True, help="What organizations set up for their providers.")

_Org = Annotated[str, typer.Argument(metavar="ORG", help="Organization: a lower-case slug such as acme_corp.")]
_Env = Annotated[str, typer.Option(envvar="PIPELINES_ENV", help="Environment: names the dataset {org}_{env}.")]


@org.command("create")
def create_org(slug: _Org, env: _Env = "dev") -> None:
    """Make the dataset that an organization's pipelines write to. Harmless where it is there.

    Uses PIPELINES_BIGQUERY_PROJECT and PIPELINES_BIGQUERY_LOCATION.
    """
    from pipeline_core.store.bigquery.client import bigquery_client
    from pipeline_core.store.bigquery.datasets import create_org_dataset

    with sentences():
        name, new = create_org_dataset(bigquery_client(BigQuerySettings()), slug, env)
    typer.echo(f"dataset {name} {'created' if new else 'is there'}")


@integration.command("set")
def set_integration(
    slug: _Org,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Provider, such as gcp.")],
    setting: Annotated[
        list[str] | None, typer.Option(help="A setting, name=value; repeat it. All settings are replaced.")
    ] = None,
    status: Annotated[Literal["ACTIVE", "INACTIVE"], typer.Option(help="Whether runs may use it.")] = "ACTIVE",
) -> None:
    """Store an organization's integration with a provider, in the database of PIPELINES_DATABASE_URL.

    Settings become variables of configs, such as billing_project_id; never put a secret here.
    """
    settings = dict(_pair(each) for each in setting or [])
    with sentences():
        _with_integrations(lambda integrations: integrations.set(slug, provider, settings, status=status))
    typer.echo(f"integration of {slug} with {provider} is {status}: {', '.join(settings) or 'no settings'}")


@integration.command("list")
def list_integrations(
    slug: _Org,
    output: Annotated[
        Literal["table", "json"], typer.Option("--output", "-o", help="How to write the result.")
    ] = "table",
) -> None:
    """List an organization's integrations."""
    with sentences():
        found = _with_integrations(lambda integrations: integrations.list(slug))
    if output == "json":
        typer.echo(json.dumps([_plain(each) for each in found], indent=2))
        return
    table = Table("PROVIDER", "STATUS", "SETTINGS", "UPDATED", box=None)
    for each in found:
        settings = "\n".join(f"{name}={value}" for name, value in each.settings.items())
        table.add_row(each.provider, each.status, settings, f"{each.updated_at:%Y-%m-%d %H:%M:%S}")
    Console().print(table)


def _with_integrations(work: "Callable[[Integrations], Awaitable[T]]") -> T:
    from pipeline_core.store.engine import create_engine
    from pipeline_core.store.integrations import Integrations

    async def connected() -> T:
        engine = create_engine(DatabaseSettings().database_url.get_secret_value())
        try:
            return await work(Integrations(engine))
        finally:
            await engine.dispose()

    return asyncio.run(connected())


def _plain(found: "Integration") -> dict[str, object]:
    return {
        "provider": found.provider,
        "status": found.status,
        "settings": dict(found.settings),
        "updated_at": found.updated_at.isoformat(),
    }


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise refused(f"--setting {text[:100]!r}: expected name=value")
    return name, value
