"""Finds the processor that a run document names: a class of the runner's own packages, or of an allowed installed one.

Importing executes, so all that can be asked before an import is asked first, and asked here once more: the config was
checked when it was loaded, but by a process that doesn't have the packages.
"""

import importlib
import re
from collections.abc import Collection, Mapping
from typing import Any

from pipeline_core.processor_packages import is_of
from pipeline_runner.errors import ConfigError
from pipeline_runner.packages import check_declared, installed
from pipeline_runner.processors.base import BaseProcessor

OWN_PREFIX = "pipeline_runner.processors."
_MODULE = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")


def load_processor(config: Mapping[str, Any], packages: Collection[str] = ()) -> type[BaseProcessor]:
    """The class that `config["processor"]` names; `packages` are the allowed ones beside the runner's own.

    Raises ConfigError if the module is neither the runner's own nor declared by an allowed package, doesn't exist, or
    has no such processor. An error inside the module itself goes through as it is: that is a defect, not a setting.
    """
    section = config.get("processor")
    module_name = section.get("module") if isinstance(section, Mapping) else None
    class_name = section.get("class") if isinstance(section, Mapping) else None
    if not isinstance(module_name, str) or not isinstance(class_name, str):
        raise ConfigError(f"processor: expected a class and a module, got {section!r:.200}")
    if not _MODULE.fullmatch(module_name):
        raise ConfigError(f"processor.module: {module_name!r:.200} isn't the name of a module")
    if not module_name.startswith(OWN_PREFIX):
        check_declared(module_name, class_name, packages, installed())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not is_of(module_name, error.name):
            raise  # the module is there, something that it imports isn't
        raise ConfigError(f"processor.module: there is no module {module_name}") from None
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, BaseProcessor):
        raise ConfigError(f"processor.class: {module_name} has no processor {class_name!r:.100}")
    return found
