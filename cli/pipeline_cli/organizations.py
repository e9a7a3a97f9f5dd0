"""`pipelines org`: who may have runs, and the datasets that their pipelines write to."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pipeline_cli import options
from pipeline_cli.database import database_url, with_database
from pipeline_cli.failing import sentences
from pipeline_core.settings import BigQuerySettings

if TYPE_CHECKING:
    from pipeline_core.store.organizations import Organization

org = typer.Typer(no_args_is_help=True, help="Organizations and their datasets.")

_Env = Annotated[str, typer.Option(envvar="PIPELINES_ENV", help="Environment: names the dataset {org}_{env}.")]


@org.command("create")
def create_org(
    slug: options.Org,
    env: _Env = "dev",
    name: Annotated[str | None, typer.Option(help="What people call it.")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone of its days and months, such as Europe/Berlin. Etc/UTC where none is set.")
    ] = None,
) -> None:
    """Make an organization and the dataset that its pipelines write to.

    Harmless to repeat: what is there stays, but for a name or a time zone
    that is given.

    Uses PIPELINES_DATABASE_URL, PIPELINES_BIGQUERY_PROJECT and
    PIPELINES_BIGQUERY_LOCATION.
    """
    from pipeline_core.store.bigquery.client import bigquery_client
    from pipeline_core.store.bigquery.datasets import create_org_dataset
    from pipeline_core.store.organizations import Organizations, check_organization

    with sentences():
        database_url()
        check_organization(slug, name, time_zone)
        dataset, dataset_is_new = create_org_dataset(bigquery_client(BigQuerySettings()), slug, env)
        # crash here: nobody may run anything for an organization that isn't known; the next call makes it known
        made, is_new = with_database(lambda engine: Organizations(engine).create(slug, name, time_zone))
    named = f" ({made.display_name})" if made.display_name else ""
    typer.echo(f"organization {slug}{named} {_is_made(is_new)}; its days and months are those of {made.time_zone}")
    typer.echo(f"dataset {dataset} {_is_made(dataset_is_new)}")


@org.command("list")
def list_orgs(output: options.Output = "table") -> None:
    """List all organizations."""
    from pipeline_core.store.organizations import Organizations

    with sentences():
        found = with_database(lambda engine: Organizations(engine).list())

    def table() -> Table:
        made = options.columns("ORG", "NAME", "TIME ZONE", "CREATED")
        for each in found:
            made.add_row(each.org_slug, each.display_name, each.time_zone, f"{each.created_at:%Y-%m-%d %H:%M:%S}")
        return made

    options.write(output, [_plain(each) for each in found], table)


def _is_made(is_new: bool) -> str:
    return "created" if is_new else "is there"


def _plain(found: "Organization") -> dict[str, object]:
    return {
        "org_slug": found.org_slug,
        "display_name": found.display_name,
        "time_zone": found.time_zone,
        "created_at": found.created_at.isoformat(),
        "updated_at": found.updated_at.isoformat(),
    }
