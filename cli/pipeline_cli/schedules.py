"""`pipelines schedules`: the schedules that the catalog offers, as manifests to be kept in Git."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline_cli import options
from pipeline_cli.cluster import NAMESPACE
from pipeline_cli.failing import refused, sentences
from pipeline_cli.manifest_files import put_files
from pipeline_cli.schedule_manifests import manifests, to_yaml
from pipeline_core.catalog.loader import load_catalog
from pipeline_core.errors import UnknownProviderError
from pipeline_core.schedules.cron import check_time_zone

schedules = typer.Typer(no_args_is_help=True, help="Schedules of the catalog, as manifests.")


@schedules.callback()
def _group() -> None:
    """Schedules of the catalog, as manifests."""


@schedules.command("install")
def install_schedules(
    org: options.Org,
    provider: Annotated[str | None, typer.Option(help="Only those of this provider.")] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Written into the manifests; none by default.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for one file each; standard output by default.", file_okay=False),
    ] = None,
    configs: Annotated[Path, typer.Option(envvar="PIPELINES_CATALOG_DIR", help="Folder of configs.")] = Path("configs"),
    time_zone: Annotated[str, typer.Option(help="Of the cron expressions, a name of the IANA database.")] = "Etc/UTC",
    processor_packages: options.Packages = "",
    force: Annotated[bool, typer.Option("--force", help="Replace files that differ from what is written.")] = False,
) -> None:
    """Write a PipelineSchedule for each pipeline whose config has a schedule.

    Nothing is sent to a cluster: keep them in Git, or give them to kubectl apply -f. The same catalog makes the same
    files. Where one differs, since the catalog does or somebody has edited it, none is written without --force.
    """
    if namespace is not None and not NAMESPACE.fullmatch(namespace):
        raise refused(f"--namespace {namespace!r:.100}: expected the name of a namespace, such as tenants")
    if not configs.is_dir():
        raise refused(f"{configs}: no such folder; name the catalog's with --configs or PIPELINES_CATALOG_DIR")
    packages = options.package_names(processor_packages)
    with sentences():
        catalog = load_catalog(configs, processor_packages=packages)
        if provider is not None and provider not in catalog.providers:
            raise UnknownProviderError(provider[:64])
        try:
            check_time_zone(time_zone)
        except ValueError as error:
            raise refused(f"--time-zone {time_zone!r:.100}: expected {error}") from None
        found = manifests(catalog, org, provider=provider, namespace=namespace, time_zone=time_zone)
    if not found:
        of_it = f" of provider {provider}" if provider else ""
        raise refused(f"{configs}: no pipeline{of_it} has a schedule in its config")
    texts = {name: to_yaml(manifest) for name, manifest in found.items()}
    if output is None:
        typer.echo("---\n".join(texts.values()), nl=False)
        return
    with sentences():
        try:
            done = put_files(output, {f"{name}.yaml": text for name, text in texts.items()}, force=force)
        except OSError as error:
            raise refused(f"{error.filename}: {error.strerror}") from None
    typer.echo(f"{output}: {done.new} new, {done.replaced} replaced, {done.unchanged} unchanged")
