"""Parameters of which the smoke has some."""

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet


def in_smoke(names: Iterable[str], smoke: Collection[str]) -> "list[ParameterSet]":
    """Those of `smoke` are parameters of any run of the tests, the others of `make test-full`."""
    return [pytest.param(name, marks=() if name in smoke else pytest.mark.full) for name in names]
