"""Checks parsed files against the models, and tells each problem with its line and field."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from pipeline_core import dates
from pipeline_core.catalog.bigquery_names import bad_names
from pipeline_core.catalog.models import PipelineFile, Provider, ProvidersFile
from pipeline_core.catalog.problems import CatalogInvalidError
from pipeline_core.catalog.validation_messages import NO_CREDENTIALS, describe
from pipeline_core.catalog.yaml_document import YamlDocument
from pipeline_core.errors import ParametersInvalidError, TemplateInvalidError
from pipeline_core.parameter_types import ParameterType
from pipeline_core.parameters import Parameter, resolve_default
from pipeline_core.redaction import is_credential_setting, without_credentials
from pipeline_core.templates import BUILT_INS, built_in_variables, split_template, walk_texts
from pipeline_core.wording import FieldPath

_ModelT = TypeVar("_ModelT", bound=BaseModel)
_Found = Iterator[tuple[FieldPath, str]]

# Defaults are tried at load with the variables of some day; what they resolve to isn't used.
_SAMPLE = built_in_variables(org_slug="acme", env="dev", run_id="run_0", logical_time=datetime(2026, 1, 2, tzinfo=UTC))


def validate_providers(document: YamlDocument) -> Mapping[str, Provider]:
    """The provider registry. Raises CatalogInvalidError."""
    return _validate(ProvidersFile, document, {}).providers


def validate_pipeline(
    document: YamlDocument, providers: Mapping[str, Provider], processor_packages: Sequence[str]
) -> PipelineFile:
    """One pipeline's file. Raises CatalogInvalidError with all problems of its shape, or else of what it means."""
    content = _validate(PipelineFile, document, {"processor_packages": tuple(processor_packages)})
    provider = providers.get(content.pipeline.provider)
    found = [
        *_template_problems(document.value, provider),
        *_credential_problems(document.value),
        *bad_names(content.model_dump(include={"source", "target"}), resolved=False),
        *_check_problems(content),
        *_date_problems(content.parameters),
        *_default_problems(content.parameters),
    ]
    if found:
        raise CatalogInvalidError([document.problem(path, message) for path, message in found])
    return content


def _validate(model: type[_ModelT], document: YamlDocument, context: dict[str, object]) -> _ModelT:
    try:
        return model.model_validate(document.value, context=context)
    except ValidationError as error:
        problems = [document.problem(*describe(detail, model)) for detail in error.errors(include_url=False)]
        raise CatalogInvalidError(problems) from None


def _template_problems(value: object, provider: Provider | None) -> _Found:
    """Malformed templates, and variables that no run could have."""
    settings = provider.settings if provider else None
    for path, text in walk_texts(value):
        try:
            names = [part[0] for part in split_template(text) if isinstance(part, tuple)]
        except ValueError as error:
            yield path, str(error)
            continue
        # Only the built-ins, so that a run's parameters are known before its integration is looked at.
        in_default = path[:1] == ("parameters",)
        if settings is None and not in_default:
            continue
        known = (*BUILT_INS, *(() if in_default else settings or ()))
        for name in names:
            if name not in known:
                yield path, f"unknown variable {name!r}; known here: {', '.join(known)}"


def _credential_problems(value: object) -> _Found:
    """Credentials, by a text's looks, and in the source by a field's name as well: many may read a config."""
    for path, text in walk_texts(value):
        is_named = path[0] == "source" and any(isinstance(step, str) and is_credential_setting(step) for step in path)
        if text and (is_named or without_credentials(text) != text):
            yield path, NO_CREDENTIALS


def _check_problems(content: PipelineFile) -> _Found:
    """Checks of tables that the config doesn't name: nothing would apply them."""
    known = content.target.tables or {}
    for key in content.checks.tables if content.checks else ():
        if key not in known:
            expected = ", ".join(known) or "none, as target.tables is missing"
            yield ("checks", "tables", key), f"no table of target.tables; known there: {expected}"


def _date_problems(parameters: Mapping[str, Parameter]) -> _Found:
    """The rules between date, start_date and end_date, which every config that has them shares."""
    if (dates.START_DATE in parameters) != (dates.END_DATE in parameters):
        yield ("parameters",), "start_date and end_date belong together: declare both, or neither"
    declared = [name for name in dates.DATE_PARAMETERS if name in parameters]
    for name in declared:
        if parameters[name].type not in (ParameterType.STRING, ParameterType.DATE):
            yield ("parameters", name, "type"), f"{name} is a date by its name, so its type is date (or string)"
    with_default = [name for name in declared if parameters[name].default is not None]
    if dates.DATE in with_default and len(with_default) > 1:
        yield ("parameters", with_default[1], "default"), "date has a default too, and a run covers a day or a range"


def _default_problems(parameters: Mapping[str, Parameter]) -> _Found:
    for name, parameter in parameters.items():
        if parameter.default is not None:
            if parameter.required:
                yield ("parameters", name), "a required parameter has no default: leave one of the two out"
            try:
                resolve_default(name, parameter, _SAMPLE)
            except TemplateInvalidError:
                continue  # told by _template_problems
            except ParametersInvalidError as error:
                yield ("parameters", name, "default"), str(error)
