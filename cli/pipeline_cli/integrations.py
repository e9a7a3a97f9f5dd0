"""`pipelines integration`: what organizations set up for their providers."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from pipeline_cli import options
from pipeline_cli.database import with_database
from pipeline_cli.failing import refused, sentences
from pipeline_core.admission.tenancy import TenancyMode

if TYPE_CHECKING:
    from pipeline_core.store.integrations import Integration

integration = typer.Typer(no_args_is_help=True, help="What organizations set up for their providers.")


@integration.command("set")
def set_integration(
    slug: options.Org,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Provider, such as gcp.")],
    setting: Annotated[
        list[str] | None, typer.Option(help="A setting, name=value; repeat it. All settings are replaced.")
    ] = None,
    credential_secret: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The Kubernetes Secret that holds the credentials; its name is replaced, too."
        ),
    ] = None,
    status: Annotated[Literal["ACTIVE", "INACTIVE"], typer.Option(help="Whether runs may use it.")] = "ACTIVE",
    tenancy: Annotated[
        TenancyMode,
        typer.Option(
            envvar="PIPELINES_TENANCY", help="The installation's tenancy.mode; if Shared, the Secret is named ORG-…."
        ),
    ] = TenancyMode.SHARED,
) -> None:
    """Store an organization's integration with a provider, in the database of PIPELINES_DATABASE_URL.

    Settings become variables of configs, such as billing_project_id; never put a secret here.
    """
    from pipeline_core.store.integrations import Integrations

    settings = dict(_pair(each) for each in setting or [])
    with sentences():
        with_database(
            lambda engine: Integrations(engine).set(
                slug, provider, settings, status=status, credential_secret=credential_secret, tenancy=tenancy
            )
        )
    with_secret = f"; credentials in the Secret {credential_secret}" if credential_secret else ""
    told = ", ".join(settings) or "no settings"
    typer.echo(f"integration of {slug} with {provider} is {status}: {told}{with_secret}")


@integration.command("list")
def list_integrations(slug: options.Org, output: options.Output = "table") -> None:
    """List an organization's integrations."""
    from pipeline_core.store.integrations import Integrations

    with sentences():
        found = with_database(lambda engine: Integrations(engine).list(slug))

    def table() -> Table:
        made = options.columns("PROVIDER", "STATUS", "SETTINGS", "CREDENTIALS", "UPDATED")
        for each in found:
            settings = "\n".join(f"{name}={value}" for name, value in each.settings.items())
            updated = f"{each.updated_at:%Y-%m-%d %H:%M:%S}"
            made.add_row(each.provider, each.status, settings, each.credential_secret, updated)
        return made

    options.write(output, [_plain(each) for each in found], table)


def _plain(found: "Integration") -> dict[str, object]:
    return {
        "provider": found.provider,
        "status": found.status,
        "settings": dict(found.settings),
        "credential_secret": found.credential_secret,
        "updated_at": found.updated_at.isoformat(),
    }


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise refused(f"--setting {text[:100]!r}: expected name=value")
    return name, value
