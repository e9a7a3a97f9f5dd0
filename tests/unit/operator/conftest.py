"""The world that most tests of the operator act in."""

import pytest

from support.operator_world import World


@pytest.fixture
def world() -> World:
    return World()
