"""The chart as it is rendered with the values that most of its tests look at; once for each module."""

import pytest

from support.chart import LOCAL, REQUIRED, Rendering, render
from support.chart_values import DEV, RENDERINGS


@pytest.fixture(scope="module", params=RENDERINGS)
def rendering(request: pytest.FixtureRequest) -> Rendering:
    return render(RENDERINGS[request.param])


@pytest.fixture(scope="module")
def required() -> Rendering:
    return render(REQUIRED)


@pytest.fixture(scope="module")
def local() -> Rendering:
    return render(LOCAL)


@pytest.fixture(scope="module")
def dev() -> Rendering:
    return render(DEV)
