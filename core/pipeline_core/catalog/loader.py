"""Loads the catalog: all files, or all that is wrong with them."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from pipeline_core.catalog.files import PROVIDERS_FILE, CatalogFiles, read_files
from pipeline_core.catalog.models import Provider
from pipeline_core.catalog.problems import CatalogInvalidError, Problem
from pipeline_core.catalog.snapshot import Catalog, PipelineConfig
from pipeline_core.catalog.validation import validate_pipeline, validate_providers
from pipeline_core.catalog.yaml_document import YamlDocument, read_yaml
from pipeline_core.identifiers import NAME


def load_catalog(directory: Path, *, processor_packages: Sequence[str] = ()) -> Catalog:
    """Load `configs/`: the provider registry and every pipeline.

    `processor_packages` are the distributions that processors may come from beside the runner's own. Raises
    CatalogInvalidError with all problems of all files, so that a broken file is never half in use.
    """
    return build_catalog(read_files(directory), processor_packages)


def build_catalog(files: CatalogFiles, processor_packages: Sequence[str] = ()) -> Catalog:
    """The catalog of files already read. Raises CatalogInvalidError."""
    problems: list[Problem] = []
    providers = _load_providers(files, problems)
    pipelines: list[PipelineConfig] = []
    for path in sorted(files.contents.keys() - {PROVIDERS_FILE}):
        try:
            pipelines.append(_load_pipeline(path, files.contents[path], providers, processor_packages))
        except CatalogInvalidError as error:
            problems += error.problems
    problems += _name_clashes(pipelines)
    if problems:
        raise CatalogInvalidError(problems)
    return Catalog(
        _hash(files.contents), MappingProxyType(dict(providers)), tuple(sorted(pipelines, key=lambda p: p.key))
    )


def _load_providers(files: CatalogFiles, problems: list[Problem]) -> Mapping[str, Provider]:
    if PROVIDERS_FILE not in files.contents:
        problems.append(Problem(PROVIDERS_FILE, 1, "", "the file is missing; it registers the providers"))
        return {}
    try:
        return validate_providers(read_yaml(files.contents[PROVIDERS_FILE], PROVIDERS_FILE))
    except CatalogInvalidError as error:
        problems += error.problems
        return {}


def _load_pipeline(
    path: str, data: bytes, providers: Mapping[str, Provider], processor_packages: Sequence[str]
) -> PipelineConfig:
    folders, stem = _split(path)
    document = read_yaml(data, path)
    content = validate_pipeline(document, providers, processor_packages)
    problems = [*_misplaced(document, folders, content.pipeline.provider, content.pipeline.domain)]
    # Without any provider the registry itself is broken, which is told already.
    if providers and content.pipeline.provider not in providers:
        known = ", ".join(sorted(providers))
        message = f"unknown provider {content.pipeline.provider!r}; {PROVIDERS_FILE} has: {known}"
        problems.append(document.problem(("pipeline", "provider"), message))
    if problems:
        raise CatalogInvalidError(problems)
    return PipelineConfig(content.pipeline.provider, content.pipeline.domain, stem, path, content)


def _split(path: str) -> tuple[list[str], str]:
    """The folders and the stem of a file's path. Raises CatalogInvalidError if it's no place for a pipeline."""
    *folders, name = path.split("/")
    stem, _, suffix = name.rpartition(".")
    if folders[:1] == ["system"]:
        message = f"nothing reads this file; system/ holds {PROVIDERS_FILE} only"
    elif not 1 <= len(folders) <= 2:
        message = "expected {provider}/{domain}/{pipeline}.yml, or {provider}/{pipeline}.yml"
    elif suffix != "yml":
        message = "the name of a config ends in .yml"
    elif not all(NAME.fullmatch(step) for step in (*folders, stem)):
        message = f"each part of the path must match {NAME.pattern}"
    else:
        return folders, stem
    raise CatalogInvalidError([Problem(path, 1, "", message)])


def _misplaced(document: YamlDocument, folders: Sequence[str], provider: str, domain: str) -> list[Problem]:
    """Where the file says another provider or domain than its path does; the path may leave the domain out."""
    said = {"provider": provider, "domain": domain}
    return [
        document.problem(("pipeline", field), f"{said[field]!r} doesn't match the folder, {folder!r}")
        for field, folder in zip(("provider", "domain"), folders, strict=False)
        if said[field] != folder
    ]


def _name_clashes(pipelines: Sequence[PipelineConfig]) -> list[Problem]:
    """Configs that a request couldn't tell apart, by their stems or by the names they give themselves."""
    owners: dict[tuple[str, str, str], PipelineConfig] = {}
    problems = []
    for config in pipelines:
        for name, field in ((config.stem, ""), (config.content.pipeline.name, "pipeline.name")):
            owner = owners.setdefault((config.provider, config.domain, name), config)
            if owner is not config:
                message = f"{config.provider}/{config.domain}/{name} is already the name of {owner.path}"
                problems.append(Problem(config.path, 1, field, message))
    return problems


def _hash(contents: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for path in sorted(contents):
        # The lengths keep one file's end from passing for the next one's beginning.
        digest.update(f"{len(path.encode())} {path} {len(contents[path])} ".encode())
        digest.update(contents[path])
    return digest.hexdigest()
