"""What the processors that are installed here say of configs: their class, the fields of their source, their checks."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from pipeline_core.catalog.files import CatalogFiles
from pipeline_core.catalog.problems import Problem
from pipeline_core.catalog.snapshot import Catalog, PipelineConfig
from pipeline_core.catalog.yaml_document import YamlDocument, read_yaml
from pipeline_core.errors import PipelinesError
from pipeline_core.processor_packages import import_package, is_of
from pipeline_core.resolve import resolved_config
from pipeline_core.templates import BUILT_INS, built_in_variables, split_template, walk_texts
from pipeline_core.wording import FieldPath
from pipeline_runner.config_errors import FieldsError
from pipeline_runner.errors import ConfigError
from pipeline_runner.loading import OWN_PREFIX, load_processor
from pipeline_runner.packages import installed
from pipeline_runner.processors.base import BaseProcessor

# The run and the setting that stand in for those of an organization.
_RUN_ID, _ORG, _SETTING = "run_0", "acme", "sample"
_BUILT_INS = built_in_variables(org_slug=_ORG, env="dev", run_id=_RUN_ID, logical_time=datetime(2026, 1, 2, tzinfo=UTC))


def is_installed(config: PipelineConfig) -> bool:
    """Whether the package that a config's processor comes from is installed here, so that it can be asked."""
    module = config.content.processor.module
    return module.startswith(OWN_PREFIX) or any(is_of(module, import_package(each.package)) for each in installed())


def processor_problems(
    catalog: Catalog, files: CatalogFiles, config: PipelineConfig, packages: Sequence[str]
) -> list[Problem]:
    """What its processor finds wrong with a config of a valid catalog; `packages` are the allowed ones.

    The processor sees the config as some run would: with the settings' defaults, and a sample for those without. What
    is wrong only because of a sample isn't told.
    """
    document = read_yaml(files.contents[config.path], config.path)
    try:
        made = load_processor(config.content.to_document(), packages)
    except ConfigError as error:
        field, _, message = str(error).partition(": ")
        return [document.problem(tuple(field.split(".")), message)]
    except Exception as error:
        message = f"importing it fails: {type(error).__name__}: {error}"
        return [document.problem(("processor", "module"), message)]
    return list(_problems(made, catalog, config, document))


def _problems(
    made: type[BaseProcessor], catalog: Catalog, config: PipelineConfig, document: YamlDocument
) -> Iterator[Problem]:
    provider = catalog.providers[config.provider]
    known = {*BUILT_INS, *(name for name, each in (provider.settings or {}).items() if each.default is not None)}
    samples = {path: names for path, names in _variables(document.value).items() if not names <= known}
    settings = {name: _SETTING for names in samples.values() for name in names - known}
    try:
        made(resolved_config(config, provider, settings, _BUILT_INS), _ORG, _RUN_ID).check_config()
    except FieldsError as error:
        for path, message in error.problems:
            if not any(_is_within(path, sample) or _is_within(sample, path) for sample in samples):
                yield document.problem(path, message)
    except (ConfigError, PipelinesError) as error:
        # It names no field, so that a sample may be what is wrong.
        if not samples:
            yield document.problem(("processor",), str(error))


def _is_within(path: FieldPath, other: FieldPath) -> bool:
    return path[: len(other)] == other


def _variables(value: object) -> Mapping[FieldPath, set[str]]:
    """The variables of each text that has any, by its path."""
    found = {
        path: {part[0] for part in split_template(text) if isinstance(part, tuple)} for path, text in walk_texts(value)
    }
    return {path: names for path, names in found.items() if names}
