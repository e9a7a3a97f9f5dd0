"""Organizations that a test makes in the installation for itself."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline_core.store.bigquery.datasets import create_org_dataset
from pipeline_local.quickstart import source
from pipeline_local.quickstart.tour import integrate
from support.installation import Installation


@contextmanager
def empty_organization(installation: Installation, org: str) -> Iterator[None]:
    """One whose dataset is empty: nothing that an earlier run has copied can pass for this test's work."""
    client, dataset = installation.client, f"{org}_dev"
    asyncio.run(integrate(installation.database_url, org, source.SETTINGS))
    client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
    create_org_dataset(client, org, "dev")
    yield
    client.delete_dataset(dataset, delete_contents=True, not_found_ok=True)
