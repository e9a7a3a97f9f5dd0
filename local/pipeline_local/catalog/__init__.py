"""Pipelines that only the local installation has: tools for measurements and tests."""

from pathlib import Path

import yaml

from pipeline_local.images_content import checkout

_HERE = Path(__file__).parent
_PROVIDERS = "system/providers.yml"


def local_files() -> dict[str, str]:
    """The files to add to the chart's catalog, path to text; the provider registry is the checkout's with one more."""
    files = {path.relative_to(_HERE).as_posix(): path.read_text() for path in sorted(_HERE.glob("*/*/*.yml"))}
    registry = yaml.safe_load((checkout() / "configs" / _PROVIDERS).read_text())
    registry["providers"] |= yaml.safe_load((_HERE / "providers.yml").read_text())
    return {**files, _PROVIDERS: yaml.safe_dump(registry, sort_keys=False)}
