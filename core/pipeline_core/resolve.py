"""Resolves a request against the catalog into the run document that a runner executes.

The order is fixed, so that a request always gets the same answer: provider known, pipeline found, parameters valid
(`plan_run`), integration there, templates resolved (`resolve_plan`). Nothing here depends on the present time, so a
retry resolves the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline_core import identifiers
from pipeline_core.catalog.bigquery_names import bad_names
from pipeline_core.catalog.models import Provider
from pipeline_core.catalog.snapshot import Catalog, PipelineConfig
from pipeline_core.dates import DATE_PARAMETERS, FIRST_YEAR, LAST_YEAR
from pipeline_core.errors import (
    ConfigInvalidError,
    IntegrationNotActiveError,
    RequestInvalidError,
    TemplateInvalidError,
)
from pipeline_core.parameters import effective_parameters
from pipeline_core.run_document import RUN_DOCUMENT_MAX_BYTES, RunDocument
from pipeline_core.templates import TemplateResolver, built_in_variables
from pipeline_core.wording import dotted, join_problems, shorten

DEFAULT_TIMEOUT_SECONDS = 3_600
DEFAULT_MAX_RETRIES = 2
# What `source` says about days beside those that the parameters name.
_WIDENING = frozenset({"rescan_days", "catch_up_days"})


@dataclass(frozen=True)
class RunRequest:
    """A run as it was asked for. `pipeline` is a stem or a `pipeline.name`; None leaves a limit to the config."""

    run_id: str
    org_slug: str
    provider: str
    domain: str
    pipeline: str
    parameters: Mapping[str, object]
    logical_time: datetime
    timeout_seconds: int | None = None
    max_retries: int | None = None


@dataclass(frozen=True)
class RunPlan:
    """A request whose pipeline is found and whose parameters are valid: what the organization doesn't matter for."""

    request: RunRequest
    env: str
    config: PipelineConfig
    provider: Provider
    built_ins: Mapping[str, str]
    parameters: dict[str, Any]


def plan_run(catalog: Catalog, request: RunRequest, *, env: str) -> RunPlan:
    """Find the request's pipeline and check its parameters.

    Raises, in this order of precedence: RequestInvalidError, UnknownProviderError, PipelineNotFoundError,
    ParametersInvalidError.
    """
    _check_request(request, env)
    config = catalog.get(request.provider, request.domain, request.pipeline)
    built_ins = built_in_variables(
        org_slug=request.org_slug, env=env, run_id=request.run_id, logical_time=request.logical_time
    )
    parameters = effective_parameters(config.content.parameters, request.parameters, built_ins)
    return RunPlan(request, env, config, catalog.providers[request.provider], built_ins, parameters)


def resolve_plan(
    plan: RunPlan, *, integration: Mapping[str, str] | None, credential_secret: str | None = None
) -> RunDocument:
    """The document of a run, or the error that refuses it.

    `integration` holds the settings of the organization's active integration with the provider, None if it has none;
    `credential_secret` is the name of the Secret with its credentials.
    Raises, in this order of precedence: IntegrationNotActiveError, TemplateInvalidError, ConfigInvalidError.
    """
    request, config = plan.request, plan.config
    if integration is None and plan.provider.integration_required:
        raise IntegrationNotActiveError(request.provider)
    content = config.content
    document = RunDocument(
        run_id=request.run_id,
        org_slug=request.org_slug,
        env=plan.env,
        provider=config.provider,
        domain=config.domain,
        pipeline=config.stem,
        logical_time=request.logical_time,
        parameters=plan.parameters,
        config=_without_rescan(
            resolved_config(config, plan.provider, integration or {}, plan.built_ins), request.parameters
        ),
        timeout_seconds=_first(request.timeout_seconds, content.timeout_seconds, DEFAULT_TIMEOUT_SECONDS),
        max_retries=_first(
            request.max_retries, content.retry.max_retries if content.retry else None, DEFAULT_MAX_RETRIES
        ),
        credential_secret=credential_secret,
    )
    size = len(document.model_dump_json().encode())
    if size > RUN_DOCUMENT_MAX_BYTES:
        raise ConfigInvalidError(
            f"{config.path}: the run document has {size} bytes; at most {RUN_DOCUMENT_MAX_BYTES} fit"
        )
    return document


def resolve_run(
    catalog: Catalog, request: RunRequest, *, env: str, integration: Mapping[str, str] | None
) -> RunDocument:
    """Plan and resolve at once, without asking whether the organization may run anything: for a run on one's own
    machine. Raises what the two raise.
    """
    return resolve_plan(plan_run(catalog, request, env=env), integration=integration)


def resolved_config(
    config: PipelineConfig, provider: Provider, integration: Mapping[str, str], built_ins: Mapping[str, str]
) -> dict[str, Any]:
    """A pipeline's config with every template resolved. Raises TemplateInvalidError or ConfigInvalidError."""
    declared = provider.settings or {}
    settings = {name: setting.default for name, setting in declared.items() if setting.default is not None}
    # The built-ins come last: no setting shadows one. Parameters are no variables, as a caller must not choose whose
    # dataset is read.
    variables = {**settings, **integration, **built_ins}
    try:
        resolved = TemplateResolver().resolve(config.content.to_document(), variables)
    except TemplateInvalidError as error:
        unset = [name for name in declared if name not in variables]
        hint = f"; the organization's {config.provider} integration doesn't set: {', '.join(unset)}" if unset else ""
        raise TemplateInvalidError(f"{config.path}: {error}{hint}") from None
    problems = [f"{dotted(path)}: {message}" for path, message in bad_names(resolved, resolved=True)]
    if problems:
        raise ConfigInvalidError(f"{config.path}: {join_problems(problems)}")
    return resolved


def _check_request(request: RunRequest, env: str) -> None:
    """Refuse what no caller should have let through: these names end up in datasets, objects and labels."""
    names = (
        ("run_id", request.run_id, identifiers.RUN_ID),
        ("org_slug", request.org_slug, identifiers.ORG_SLUG),
        ("env", env, identifiers.ENV),
    )
    for field, value, pattern in names:
        if not pattern.fullmatch(value):
            raise RequestInvalidError(f"{field}: {shorten(value)} doesn't match {pattern.pattern}")
    time = request.logical_time
    if time.tzinfo is None or not FIRST_YEAR <= time.year <= LAST_YEAR:
        expected = f"a time with its zone, of the years {FIRST_YEAR} to {LAST_YEAR}"
        raise RequestInvalidError(f"logical_time: expected {expected}, got {time.isoformat()}")
    if request.timeout_seconds is not None and request.timeout_seconds < 1:
        raise RequestInvalidError(f"timeout_seconds: expected at least 1, got {request.timeout_seconds}")
    if request.max_retries is not None and request.max_retries < 0:
        raise RequestInvalidError(f"max_retries: expected at least 0, got {request.max_retries}")


def _without_rescan(config: dict[str, Any], given: Mapping[str, object]) -> dict[str, Any]:
    """The config without what widens a run's days, where the caller named some: those are covered, and no others."""
    source = config.get("source")
    if source is None or not any(name in given for name in DATE_PARAMETERS):
        return config
    return {**config, "source": {name: value for name, value in source.items() if name not in _WIDENING}}


def _first(*limits: int | None) -> int:
    return next(limit for limit in limits if limit is not None)
