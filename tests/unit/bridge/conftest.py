"""The bridge and the operator that tests of starting a run act in."""

import pytest

from support.bridge_and_operator import Both


@pytest.fixture
def both() -> Both:
    """One run may go on at a time."""
    both = Both()
    both.allow(1)
    return both
