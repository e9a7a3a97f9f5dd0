"""Organizations that a test makes in the installation for itself."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from google.cloud import bigquery

from pipeline_core.store.bigquery.datasets import create_org_dataset
from pipeline_core.store.engine import create_engine
from pipeline_core.store.integrations import Integrations
from pipeline_core.store.organizations import Organizations
from pipeline_core.store.subscriptions import Subscriptions
from pipeline_local.install import ENV
from pipeline_local.quickstart import source
from pipeline_local.quickstart.commands import PROVIDER
from support.installation import Installation

_MANY = 1_000_000


def prepare(client: bigquery.Client, database_url: str, org: str) -> None:
    """Make an organization whose plan is in no test's way, with its dataset, and lead it to the billing export."""
    create_org_dataset(client, org, ENV)
    asyncio.run(integrate(database_url, org, source.SETTINGS))


async def integrate(
    database_url: str, org: str, settings: Mapping[str, str], *, concurrent: int = 10_000, status: str = "ACTIVE"
) -> None:
    """Make the organization with a wide plan, and store its integration with Google Cloud."""
    engine = create_engine(database_url)
    try:
        await Organizations(engine).create(org)
        await Subscriptions(engine).set(org, status="ACTIVE", per_day=_MANY, per_month=_MANY, concurrent=concurrent)
        await Integrations(engine).set(org, PROVIDER, settings, status=status)
    finally:
        await engine.dispose()


@contextmanager
def empty_organization(installation: Installation, org: str) -> Iterator[None]:
    """One whose dataset is empty: nothing that an earlier run has copied can pass for this test's work."""
    client, dataset = installation.client, f"{org}_{ENV}"
    asyncio.run(integrate(installation.database_url, org, source.SETTINGS))
    client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
    create_org_dataset(client, org, ENV)
    yield
    client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
