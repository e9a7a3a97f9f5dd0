"""`pipelines run`: one run on this machine, without a cluster, and `--dry-run`, which only says what it would do."""

import asyncio
import os
import signal
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline_cli import options
from pipeline_cli.failing import refused, sentences
from pipeline_core.catalog.loader import load_catalog
from pipeline_core.catalog.snapshot import Catalog
from pipeline_core.errors import IntegrationNotActiveError, PipelinesError
from pipeline_core.logging import configure_logging
from pipeline_core.outcome import ExitCode
from pipeline_core.resolve import RunRequest, resolve_run
from pipeline_core.run_document import RunDocument
from pipeline_runner.credentials import Credentials
from pipeline_runner.errors import ProcessorError
from pipeline_runner.execution import Loader, execute
from pipeline_runner.loading import load_processor
from pipeline_runner.masking import masked
from pipeline_runner.progress import Progress, Stage, percent
from pipeline_runner.settings import CredentialSettings, credential_settings

_ON_CLUSTER = (
    "A run on a cluster is made by a PipelineRun: kubectl apply -f examples/run-gcp-billing.yaml. "
    "To run here, without a cluster, add --local."
)


def run(
    pipeline: Annotated[str, typer.Argument(help="Which pipeline, as provider/domain/pipeline: gcp/cost/billing.")],
    org: Annotated[str, typer.Option(help="Organization to run for.")],
    local: Annotated[bool, typer.Option("--local", help="Run on this machine, without a cluster.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what a run would read, write and replace.")] = False,
    date: Annotated[str | None, typer.Option(help="The day to run for, YYYY-MM-DD.")] = None,
    start_date: Annotated[str | None, typer.Option(help="First day of a range.")] = None,
    end_date: Annotated[str | None, typer.Option(help="Last day of the range, itself included.")] = None,
    param: Annotated[list[str] | None, typer.Option(help="Further parameter, name=value.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Setting of the integration, name=value.")] = None,
    env: Annotated[
        str, typer.Option(envvar="PIPELINES_ENV", help="Environment: names the dataset {org}_{env}.")
    ] = "dev",
    configs: Annotated[Path, typer.Option(envvar="PIPELINES_CATALOG_DIR", help="Folder of configs.")] = Path("configs"),
    processor_packages: options.Packages = "",
    credentials: Annotated[
        Path | None,
        typer.Option(
            metavar="DIRECTORY",
            exists=True,
            file_okay=False,
            help="Folder of files as in the Secret: api_key.",
        ),
    ] = None,
) -> None:
    """Run a pipeline once on this machine.

    The integration's settings come from the database of PIPELINES_DATABASE_URL; --setting adds to them.
    """
    if not (local or dry_run):
        raise refused(_ON_CLUSTER, ExitCode.CONFIG)
    parts = pipeline.split("/")
    if len(parts) not in (2, 3):
        raise refused(f"{pipeline!r}: expected provider/domain/pipeline, such as gcp/cost/billing", ExitCode.CONFIG)
    if not configs.is_dir():
        raise refused(
            f"{configs}: no such folder; name the catalog's with --configs or PIPELINES_CATALOG_DIR", ExitCode.CONFIG
        )
    configure_logging("error", "run", mask=masked)
    dates = {"date": date, "start_date": start_date, "end_date": end_date}
    parameters = {**_pairs(param or [], "--param"), **{name: day for name, day in dates.items() if day is not None}}
    packages, settings = options.package_names(processor_packages), _pairs(setting or [], "--setting")
    asyncio.run(_run(parts, org, env, configs, parameters, settings, packages, credentials, dry_run=dry_run))


async def _run(
    parts: list[str], org: str, env: str, configs: Path, parameters: Mapping[str, str], settings: Mapping[str, str],
    packages: Sequence[str], credentials: Path | None, *, dry_run: bool,
) -> None:  # fmt: skip
    try:
        catalog = load_catalog(configs, processor_packages=packages)
        # A config without a domain folder is named by provider and file; the file says its domain.
        domain = parts[1] if len(parts) == 3 else _domain(catalog, parts[0], parts[1])
        request = RunRequest(
            run_id=f"run_{uuid.uuid4().hex}",
            org_slug=org,
            provider=parts[0],
            domain=domain,
            pipeline=parts[-1],
            parameters=parameters,
            logical_time=datetime.now(UTC),
        )
        _check_settings(catalog, parts[0], settings)
        stored = await _stored(org, parts[0])
        integration = None if stored is None and not settings else {**(stored or {}), **settings}
        document = resolve_run(catalog, request, env=env, integration=integration)
    except IntegrationNotActiveError as error:
        hint = "name its settings with --setting, or set PIPELINES_DATABASE_URL to the installation's database"
        raise refused(f"{error}: {hint}", ExitCode.CONFIG) from None
    except PipelinesError as error:
        raise refused(str(error), ExitCode.CONFIG) from None
    load = partial(load_processor, packages=packages)
    where = credential_settings()
    if credentials is not None:
        where = where.model_copy(update={"directory": credentials})
    await (_preview(document, load, where) if dry_run else _execute(document, load, where))


async def _preview(document: RunDocument, load: Loader, credentials: CredentialSettings) -> None:
    try:
        processor = load(document.config)(document.config, document.org_slug, document.run_id)
        processor.credentials = Credentials(document.org_slug, document.provider, settings=credentials)
        facts = await processor.preview(dict(document.parameters))
    except ProcessorError as error:
        name = document.config["processor"]["class"]
        raise refused(masked(f"{name}: {error}"), error.exit_code) from None
    typer.echo(f"A run of {document.provider}/{document.domain}/{document.pipeline} for {document.org_slug} would")
    for label, text in facts.items():
        typer.echo(f"  {label + ':':<18} {text}")
    typer.echo("Nothing was written.")


async def _execute(document: RunDocument, load: Loader, credentials: CredentialSettings) -> None:
    task = asyncio.ensure_future(execute(document, _Printed(), load=load, credentials=credentials))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, lambda: task.cancelling() or task.cancel())
    outcome, code = await task
    if code is not ExitCode.OK:
        raise refused(outcome.error or "the run failed", code)
    seconds = sum(outcome.stages.values())
    typer.echo(f"{document.run_id} succeeded: {outcome.records_processed:,} records in {seconds:.1f} s")


class _Printed(Progress):
    """Progress as lines on standard error."""

    def report(self, stage: Stage, fraction: float, records: int = 0) -> None:
        typer.echo(f"{percent(stage, fraction):3d} %  {stage.value}  {records:,} records", err=True)


def _domain(catalog: Catalog, provider: str, pipeline: str) -> str:
    found = [each.domain for each in catalog.pipelines if (each.provider, each.stem) == (provider, pipeline)]
    if len(found) != 1:
        raise refused(f"{provider}/{pipeline}: expected provider/domain/pipeline", ExitCode.CONFIG)
    return found[0]


def _check_settings(catalog: Catalog, provider: str, given: Collection[str]) -> None:
    """Refuse settings that the provider's entry in the registry hasn't: no config could use them."""
    registered = catalog.providers.get(provider)
    if registered is None or registered.settings is None:
        return
    if unknown := [name for name in given if name not in registered.settings]:
        known = ", ".join(registered.settings) or "none"
        raise refused(f"--setting {unknown[0][:100]!r}: unknown; {provider} has: {known}", ExitCode.CONFIG)


async def _stored(org: str, provider: str) -> Mapping[str, str] | None:
    """The settings of the organization's active integration; None without one, or without a database to ask."""
    if not os.environ.get("PIPELINES_DATABASE_URL"):
        return None
    # imported where it is needed: most commands of `pipelines` never meet a database
    from pipeline_core.settings import DatabaseSettings
    from pipeline_core.store.engine import create_engine
    from pipeline_core.store.integrations import Integrations

    with sentences():
        engine = create_engine(DatabaseSettings().database_url.get_secret_value())
    try:
        integration = await Integrations(engine).get(org, provider)
    finally:
        await engine.dispose()
    return integration.settings if integration is not None and integration.is_active else None


def _pairs(values: list[str], option: str) -> dict[str, str]:
    pairs = {}
    for each in values:
        name, separator, value = each.partition("=")
        if not name or not separator:
            raise refused(f"{option} {each[:100]!r}: expected name=value", ExitCode.CONFIG)
        pairs[name] = value
    return pairs
