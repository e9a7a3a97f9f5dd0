"""The catalog of providers and pipelines: `configs/`, loaded, validated and kept current."""

from pipeline_core.catalog.loader import load_catalog
from pipeline_core.catalog.models import PipelineFile, Provider
from pipeline_core.catalog.problems import CatalogInvalidError, Problem
from pipeline_core.catalog.snapshot import Catalog, PipelineConfig
from pipeline_core.catalog.watcher import CatalogWatcher

__all__ = [
    "Catalog",
    "CatalogInvalidError",
    "CatalogWatcher",
    "PipelineConfig",
    "PipelineFile",
    "Problem",
    "Provider",
    "load_catalog",
]
