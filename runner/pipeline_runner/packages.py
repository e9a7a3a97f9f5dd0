"""What installed packages declare in the entry-point group `pipelines.processors`, read without importing any of them.

An entry point's value is `package.module:Class`; its name is for people. It counts where its package is allowed, and
where its module is of the package's own import package: no package can bring in another one's code, or Python's.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from pipeline_core.processor_packages import GROUP, VARIABLE, distribution, import_package, is_of
from pipeline_core.wording import join_problems
from pipeline_runner.errors import ConfigError

_VALUE = re.compile(r"([a-z_][a-z0-9_]*(?:\.[a-z_][a-z0-9_]*)*)\s*:\s*([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, order=True)
class Declared:
    """A processor that an installed package declares; `package` is its name as installers compare it."""

    package: str
    version: str
    name: str
    module: str
    class_name: str

    def problem(self, allowed: Collection[str]) -> str | None:
        """Why the processor can't be used, None if it can."""
        if self.package not in allowed:
            return "not allowed"
        own = import_package(self.package)
        if not is_of(self.module, own):
            return f"not a module of {own}, the package's own"
        return None


def installed() -> list[Declared]:
    """All that installed packages declare, in the order of their names; what isn't `module:Class` is left out."""
    return sorted(_read(entry_points(group=GROUP)))


def check_declared(module: str, class_name: str, allowed: Collection[str], found: Sequence[Declared]) -> None:
    """Refuse a processor that no allowed package of those `found` declares.

    Raises ConfigError naming the module, the packages that are allowed, and those that are installed.
    """
    of_module = [each for each in found if each.module == module]
    usable = [each for each in of_module if each.problem(allowed) is None]
    if any(each.class_name == class_name for each in usable):
        return
    if usable:
        classes = ", ".join(each.class_name for each in usable)
        raise ConfigError(
            f"processor.class: {usable[0].package} {usable[0].version} declares no {class_name!r:.100} "
            f"of {module}; declared: {classes}"
        )
    refused = [f"{each.package} {each.version} declares it, but is {each.problem(allowed)}" for each in of_module]
    why = join_problems(refused) if refused else f"no installed package declares it in {GROUP}"
    packages = dict.fromkeys(f"{each.package} {each.version}" for each in found)
    raise ConfigError(
        f"processor.module: {module!r:.200} can't be loaded: {why}. Allowed packages ({VARIABLE}): "
        f"{', '.join(sorted(allowed)) or 'none'}; installed ones with processors: {', '.join(packages) or 'none'}"
    )


def _read(points: Iterable[EntryPoint]) -> set[Declared]:
    read = set()
    for point in points:
        match = _VALUE.fullmatch(point.value.strip())
        # A broken installation's metadata may have no name; nothing of it could be allowed.
        if match and point.dist is not None and point.dist.name:
            name, version = distribution(point.dist.name), point.dist.version or "?"
            read.add(Declared(name, version, point.name, match[1], match[2]))
    return read
