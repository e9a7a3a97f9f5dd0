"""An organization with a billing export, in the installation that all end-to-end tests share."""

from pathlib import Path

import pytest

from pipeline_local.quickstart import source
from pipeline_local.quickstart.export import billing_export
from pipeline_local.quickstart.tour import ORG
from support import obstacles
from support.installation import Installation
from support.organizations import prepare

_HERE = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.is_relative_to(_HERE):
        item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def installation(cluster: Installation) -> Installation:
    """The installation, with the export of the ten days up to yesterday in acme's project."""
    cluster.resume_bigquery()
    obstacles.clear(cluster)
    source.load(cluster.client, billing_export(cluster.last_day))
    prepare(cluster.client, cluster.database_url, ORG)
    return cluster
