"""Finds the processor that a run document names: module and class, within the allowed packages only."""

import importlib
import re
from collections.abc import Mapping
from typing import Any

from pipeline_runner.errors import ConfigError
from pipeline_runner.processors.base import BaseProcessor

# Checked here as well as when the config was loaded: what is imported is executed.
ALLOWED_PREFIX = "pipeline_runner.processors."
_MODULE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")


def load_processor(config: Mapping[str, Any]) -> type[BaseProcessor]:
    """The class that `config["processor"]` names.

    Raises ConfigError if the module is outside the allowed packages or doesn't exist, or has no such processor. An
    error inside the module itself goes through as it is: that is a defect, not a setting.
    """
    section = config.get("processor")
    module_name = section.get("module") if isinstance(section, Mapping) else None
    class_name = section.get("class") if isinstance(section, Mapping) else None
    if not isinstance(module_name, str) or not isinstance(class_name, str):
        raise ConfigError(f"processor: expected a class and a module, got {section!r:.200}")
    if not module_name.startswith(ALLOWED_PREFIX) or not _MODULE.fullmatch(module_name):
        raise ConfigError(f"processor.module: {module_name!r:.200} isn't below {ALLOWED_PREFIX}*")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise  # the module is there, something that it imports isn't
        raise ConfigError(f"processor.module: there is no module {module_name}") from None
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, BaseProcessor):
        raise ConfigError(f"processor.class: {module_name} has no processor {class_name!r:.100}")
    return found
