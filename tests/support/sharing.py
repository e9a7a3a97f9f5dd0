"""How processes share the tests: one has the cluster with all that needs it, any takes the rest, module by module."""

import re
from functools import cache
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_CLUSTER = "cluster"
_MARKED = re.compile(r"^pytestmark = .*\bmark\.e2e\b", re.MULTILINE)


class OneClusterScheduling(LoadScopeScheduling):
    """Modules go to whichever process is free; those that need the cluster, which there is one of, go to one process.

    xdist's own groups (`--dist loadgroup`) write their names into the tests' ids, which pytest no longer lets them do.
    """

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        super().__init__(config, log)
        self._root = config.rootpath

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return _CLUSTER if needs_cluster(self._root / module) else module


@cache
def needs_cluster(module: Path) -> bool:
    """Whether a test module is marked `e2e`, which modules are as a whole: by their folder or their `pytestmark`."""
    return "e2e" in module.parts or _MARKED.search(module.read_text()) is not None
