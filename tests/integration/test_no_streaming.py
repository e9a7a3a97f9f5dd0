"""Rows reach BigQuery by load jobs and queries alone: what is streamed can't be replaced by a transaction for a while.

https://cloud.google.com/bigquery/docs/data-manipulation-language#limitations
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import grpc  # type: ignore[import-untyped]
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import bigquery_storage_v1
from google.cloud.bigquery_storage_v1 import types
from google.cloud.bigquery_storage_v1.services.big_query_write.transports import BigQueryWriteGrpcTransport

from pipeline_core.catalog.checks import TableChecks
from pipeline_core.settings import BigQuerySettings
from pipeline_core.store.bigquery.client import bigquery_client
from pipeline_local.simulators.server import start_simulators
from support.billing import Billing, row
from support.fault_proxy import bigquery_proxy
from support.grpc_proxy import grpc_proxy
from support.provider_checks import DAYS, check, succeeds
from support.provider_runs import customer_with_key
from support.rows import DAY, Loads

_STORAGE = "PIPELINES_BIGQUERY_STORAGE_ENDPOINT"
_READ = "/google.cloud.bigquery.storage.v1.BigQueryRead"


@dataclass(frozen=True)
class Seen:
    """What was asked of BigQuery: `METHOD path` by REST, and the methods called by gRPC."""

    rest: list[str]
    grpc: list[str]

    @property
    def streamed(self) -> list[str]:
        """The requests that stream rows in."""
        return [each for each in self.rest if "/insertAll" in each] + [each for each in self.grpc if "Write/" in each]


@pytest.fixture
def seen(bigquery_settings: BigQuerySettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """What the clients ask that are made from now on."""
    with bigquery_proxy() as rest, grpc_proxy(os.environ[_STORAGE]) as storage:
        monkeypatch.setenv(_STORAGE, storage.url)
        yield Seen(rest.seen, storage.seen)


@pytest.mark.parametrize("read", ["query", "storage"])
async def test_a_copy_streams_nothing(bigquery_settings: BigQuerySettings, seen: Seen, read: str) -> None:
    billing = Billing(bigquery_settings)
    billing.make_source([row("2026-11-01", "1.25"), row("2026-11-01", "2.5")])
    del seen.rest[:]
    outcome = await succeeds(billing.document(read=read, date="2026-11-01"))
    assert outcome.records_processed == 2
    assert seen.streamed == []
    assert any("/upload/" in each for each in seen.rest) == (read == "storage")
    assert set(seen.grpc) == ({f"{_READ}/CreateReadSession", f"{_READ}/ReadRows"} if read == "storage" else set())


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
async def test_a_providers_run_streams_nothing(
    bigquery_settings: BigQuerySettings, seen: Seen, provider: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with start_simulators(seed=19) as simulators:
        customer = customer_with_key(bigquery_settings, provider, simulators, tmp_path, monkeypatch)
        check(customer, await succeeds(customer.document(**DAYS)))
    assert seen.streamed == []
    assert sum(each.startswith("POST /upload/") for each in seen.rest) == 2
    assert seen.grpc == []


async def test_rows_that_are_set_aside_are_not_streamed_either(bigquery_settings: BigQuerySettings, seen: Seen) -> None:
    loads = Loads(bigquery_settings)
    allowed = {"costs": TableChecks.model_validate({"quarantined": {"max": 1}})}
    rows = {"costs": [{"usage_date": DAY, "calls": 1}, {"usage_date": DAY, "calls": "many"}]}
    assert await loads.load(rows, checks=allowed) == 1
    assert "_pipelines_quarantine" in loads.names()
    assert seen.streamed == []
    assert sum(each.startswith("POST /upload/") for each in seen.rest) == 2


def test_rows_that_are_streamed_would_be_seen(bigquery_settings: BigQuerySettings, seen: Seen) -> None:
    billing = Billing(bigquery_settings)
    billing.make_source()
    bigquery_client(BigQuerySettings()).insert_rows_json(billing.source, [{"billing_account_id": "a"}])
    assert [each for each in seen.streamed if "/insertAll" in each]
    channel = grpc.insecure_channel(urlsplit(os.environ[_STORAGE]).netloc)
    writer = bigquery_storage_v1.BigQueryWriteClient(transport=BigQueryWriteGrpcTransport(channel=channel))
    project, dataset, table = billing.source.split(".")
    stream = f"projects/{project}/datasets/{dataset}/tables/{table}/streams/_default"
    with suppress(GoogleAPICallError):  # whatever becomes of it
        list(writer.append_rows(iter([types.AppendRowsRequest(write_stream=stream)]), timeout=10))
    channel.close()
    assert "/google.cloud.bigquery.storage.v1.BigQueryWrite/AppendRows" in seen.streamed
