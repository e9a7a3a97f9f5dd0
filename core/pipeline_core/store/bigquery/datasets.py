"""The organizations' datasets, `{org_slug}_{env}`."""

from google.api_core.exceptions import Conflict
from google.cloud import bigquery

from pipeline_core import identifiers

_TIMEOUT_SECONDS = 60.0


def create_org_dataset(client: bigquery.Client, org_slug: str, env: str) -> tuple[str, bool]:
    """Make the organization's dataset in the client's project and location; its name, and whether it is new.

    Raises ValueError for a slug or an environment that names no dataset, google.api_core's GoogleAPICallError where
    BigQuery refuses.
    """
    for field, value, pattern in (("org", org_slug, identifiers.ORG_SLUG), ("env", env, identifiers.ENV)):
        if not pattern.fullmatch(value):
            raise ValueError(f"{field}: expected {pattern.pattern}, got {value!r:.80}")
    dataset = bigquery.Dataset(f"{client.project}.{identifiers.dataset_name(org_slug, env)}")
    dataset.location = client.location
    name = f"{dataset.project}.{dataset.dataset_id}"
    try:
        client.create_dataset(dataset, timeout=_TIMEOUT_SECONDS)
    except Conflict:
        return name, False
    return name, True
